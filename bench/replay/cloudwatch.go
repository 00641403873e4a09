package main

import (
	"encoding/json"
	"hash/fnv"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"
)

const (
	metricsOnAPage = 500
	pointsOnAPage  = 100_800
)

// moment is a time in seconds since the epoch.
type moment float64

// cloudWatch answers Smithy RPC v2 CBOR and JSON.
func (s *server) cloudWatch(c *call) answer {
	c.service = "cloudwatch"
	var params map[string]any
	path := smithyPath.FindStringSubmatch(c.request.URL.Path)
	if path != nil {
		c.operation = path[2]
		if decoded, err := decodeCbor(c.body); err == nil {
			params, _ = decoded.(map[string]any)
		}
	} else {
		_ = json.Unmarshal(c.body, &params)
	}
	var members map[string]any
	switch c.operation {
	case "ListMetrics":
		members = s.listMetrics(c, params)
	case "GetMetricData":
		members = s.getMetricData(c, params)
	}
	if members == nil {
		return s.unknown(c)
	}
	if path == nil {
		return jsonAnswer(members)
	}
	headers := map[string]string{"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}
	return answer{200, headers, encodeCbor(make([]byte, 0, 4096), members)}
}

func text(params map[string]any, name string) string {
	value, _ := params[name].(string)
	return value
}

func listed(params map[string]any, name string) []map[string]any {
	found := []map[string]any{}
	items, _ := params[name].([]any)
	for _, item := range items {
		if members, ok := item.(map[string]any); ok {
			found = append(found, members)
		}
	}
	return found
}

func (s *server) listMetrics(c *call, params map[string]any) map[string]any {
	owner := c.account
	if id := text(params, "OwningAccount"); id != "" && s.organization.byID[id] != nil {
		owner = s.organization.byID[id]
	}
	wanted := listed(params, "Dimensions")
	found := []any{}
	owners := []any{}
	for _, m := range s.recording.byRegion[c.region] {
		if !m.matches(text(params, "Namespace"), text(params, "MetricName"), text(params, "RecentlyActive")) {
			continue
		}
		dimensions := []any{}
		values := map[string]string{}
		for index, dimension := range m.Dimensions {
			value := string(m.templates[index].render(s.recording, owner))
			values[dimension[0]] = value
			dimensions = append(dimensions, map[string]any{"Name": dimension[0], "Value": value})
		}
		if !has(values, wanted) {
			continue
		}
		found = append(found, map[string]any{
			"Namespace": m.Namespace, "MetricName": m.Name, "Dimensions": dimensions,
		})
		owners = append(owners, owner.id)
	}
	start, _ := strconv.Atoi("0" + text(params, "NextToken"))
	start = min(start, len(found))
	end := min(start+metricsOnAPage, len(found))
	members := map[string]any{"Metrics": found[start:end]}
	if linked, _ := params["IncludeLinkedAccounts"].(bool); linked {
		members["OwningAccounts"] = owners[start:end]
	}
	if end < len(found) {
		members["NextToken"] = strconv.Itoa(end)
	}
	return members
}

func (m *metric) matches(namespace, name, recently string) bool {
	return (namespace == "" || namespace == m.Namespace) && (name == "" || name == m.Name) &&
		(recently == "" || m.Recent)
}

func has(values map[string]string, wanted []map[string]any) bool {
	for _, each := range wanted {
		value, there := values[text(each, "Name")]
		if asked := text(each, "Value"); !there || (asked != "" && asked != value) {
			return false
		}
	}
	return true
}

// getMetricData answers every query with a value for each period that has begun and ended within the asked time.
func (s *server) getMetricData(c *call, params map[string]any) map[string]any {
	start, end := seconds(params["StartTime"]), seconds(params["EndTime"])
	results := []any{}
	points := 0
	queries := listed(params, "MetricDataQueries")
	first, _ := strconv.Atoi("0" + text(params, "NextToken"))
	next := ""
	for index := min(first, len(queries)); index < len(queries); index++ {
		query := queries[index]
		stat, _ := query["MetricStat"].(map[string]any)
		period := int64(60)
		if value, ok := stat["Period"].(float64); ok && value >= 1 {
			period = int64(value)
		}
		if points > 0 && points+int((end-start)/period) > pointsOnAPage {
			next = strconv.Itoa(index)
			break
		}
		times, values := series(c.account.index, c.region, stat, start, end, period)
		points += len(times)
		if text(params, "ScanBy") != "TimestampAscending" {
			reverse(times, values)
		}
		metric, _ := stat["Metric"].(map[string]any)
		results = append(results, map[string]any{
			"Id": text(query, "Id"), "Label": text(metric, "MetricName"), "StatusCode": "Complete",
			"Timestamps": times, "Values": values,
		})
	}
	members := map[string]any{"MetricDataResults": results, "Messages": []any{}}
	if next != "" {
		members["NextToken"] = next
	}
	return members
}

// series is a value for each whole period within [start, end). The same period has the same value each time.
func series(account int, region string, stat map[string]any, start, end, period int64) ([]moment, []float64) {
	metric, _ := stat["Metric"].(map[string]any)
	name := text(metric, "MetricName")
	seed := fnv.New64a()
	_, _ = seed.Write([]byte(region + "\x00" + text(metric, "Namespace") + "\x00" + name))
	dimensions := []string{}
	for _, each := range listed(metric, "Dimensions") {
		dimensions = append(dimensions, text(each, "Name")+"="+text(each, "Value"))
	}
	sort.Strings(dimensions)
	_, _ = seed.Write([]byte(strings.Join(dimensions, "\x00")))
	base := seed.Sum64() + uint64(account)*0x9e3779b97f4a7c15
	most := 1000.0
	switch {
	case strings.Contains(name, "Utilization"):
		most = 100
	case strings.Contains(name, "Bytes"):
		most = 1e9
	}
	count := max(0, (end-start)/period+1)
	times, values := make([]moment, 0, count), make([]float64, 0, count)
	step := period
	for at := (start + step - 1) / step * step; at+step <= end; at += step {
		drawn := float64(mix(base+uint64(at))>>11) / (1 << 53)
		times = append(times, moment(at))
		values = append(values, math.Trunc(drawn*most*100)/100)
	}
	return times, values
}

func reverse(times []moment, values []float64) {
	for a, b := 0, len(times)-1; a < b; a, b = a+1, b-1 {
		times[a], times[b] = times[b], times[a]
		values[a], values[b] = values[b], values[a]
	}
}

// mix is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// seconds reads a time: epoch seconds, or ISO 8601.
func seconds(value any) int64 {
	switch v := value.(type) {
	case float64:
		return int64(v)
	case string:
		if at, err := time.Parse(time.RFC3339, v); err == nil {
			return at.Unix()
		}
	}
	return 0
}
