// A small exporter to compare a scrape with: gauges of five labels, served by promhttp as its documentation does.
//
//	scrape_go FAMILIES UNITS SERIES
//
// serves UNITS results, each of which has SERIES series in each of FAMILIES families. It prints its port. Each line on
// the standard input is a publish: a result changes.
package main

import (
	"bufio"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

var labels = []string{"account_id", "account", "region", "resource_type", "resource_id"}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// publish sets the series of one unit, as often as it is called with another round to other values.
func publish(families []*prometheus.GaugeVec, unit, series, round int) {
	for number, family := range families {
		for row := range series {
			family.WithLabelValues(
				fmt.Sprintf("%012d", unit/4),
				fmt.Sprintf("account-%d", unit/4),
				fmt.Sprintf("region-%d", unit%4),
				"ec2:volume",
				fmt.Sprintf("vol-%010x%06x", unit*2654435761%1099511627776, row),
			).Set(float64((unit*31+row*7+number+round)%10007) / 8)
		}
	}
}

func main() {
	units, series := number(os.Args[2]), number(os.Args[3])
	registry := prometheus.NewRegistry()
	families := make([]*prometheus.GaugeVec, number(os.Args[1]))
	for index := range families {
		families[index] = prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: fmt.Sprintf("aws_bench_family_%d_usd", index), Help: "A value of a resource.",
		}, labels)
		registry.MustRegister(families[index])
	}
	for unit := range units {
		publish(families, unit, series, 0)
	}
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(http.Serve(listener, nil)) }()
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	lines := bufio.NewScanner(os.Stdin)
	for round := 1; lines.Scan(); round++ {
		publish(families, round*7919%units, series, round)
		fmt.Println("published")
	}
}
