#!/bin/sh
# For a task whose containers share one address and have no files of their own: copies what Prometheus,
# Alertmanager and Grafana read to FOLDER, with 127.0.0.1 for the containers' names, lets every user write to the
# volumes below VOLUMES, and makes the password that Alertmanager presents to the relay.
set -eu
folder=${1:?usage: prepare-task FOLDER VOLUMES}
volumes=${2:?usage: prepare-task FOLDER VOLUMES}
source=${AWS_SPEND_EXPORTER_FILES:-/usr/share/aws-spend-exporter}

cp -R "$source/." "$folder/"
for file in prometheus/prometheus.yml alertmanager/alertmanager.yml; do
  sed 's/\(^\|[^[:alnum:]_.-]\)\(exporter\|relay\|prometheus\|alertmanager\):\([0-9]\)/\1127.0.0.1:\3/g' \
    "$source/$file" >"$folder/$file"
done
chmod -R a+rX "$folder"
# Fargate makes a volume root's alone, and the servers' images run as users of their own.
chmod 1777 "$volumes"/*
make-password "$volumes/relay-password/password"
chmod 0755 "$volumes/relay-password"
