package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Amounts are whole numbers of 1e-10 USD, so that sums over days, services and accounts are exact.
const (
	unitsADollar = 10_000_000_000
	taxService   = "Tax"
	isoDay       = "2006-01-02"
)

var namedServices = []string{
	"Amazon Elastic Compute Cloud - Compute", "EC2 - Other", "Amazon Relational Database Service",
	"Amazon Simple Storage Service", "AWS Lambda", "Amazon DynamoDB", "AmazonCloudWatch", "Amazon CloudFront",
	"Amazon Elastic Load Balancing", "Amazon Virtual Private Cloud", "AWS Key Management Service",
	"Amazon Simple Queue Service", "Amazon Simple Notification Service", "Amazon ElastiCache",
	"Amazon OpenSearch Service", "Amazon Elastic File System", "Amazon Kinesis", "AWS Secrets Manager",
	"Amazon Elastic Container Service", "Amazon Route 53",
}

func costServices(count int) []string {
	services := append([]string{}, namedServices[:min(count, len(namedServices))]...)
	for number := len(services); number < count; number++ {
		services = append(services, fmt.Sprintf("Replayed Service %03d", number))
	}
	return services
}

type group struct{ Type, Key string }

type costRequest struct {
	TimePeriod    struct{ Start, End string }
	Granularity   string
	GroupBy       []group
	Metrics       []string
	Metric        string
	Filter        json.RawMessage
	NextPageToken string
}

// taxOnly is whether the filter leaves only what does not follow usage.
func (q *costRequest) taxOnly() bool {
	return strings.Contains(string(q.Filter), "RECORD_TYPE") && strings.Contains(string(q.Filter), `"Not"`)
}

type period struct{ start, end time.Time }

func (s *server) costExplorer(c *call) answer {
	var q costRequest
	if err := json.Unmarshal(c.body, &q); err != nil {
		return jsonError("SerializationException", err.Error())
	}
	if c.operation != "GetCostAndUsage" && c.operation != "GetCostForecast" {
		return s.unknown(c)
	}
	start, err := time.Parse(isoDay, q.TimePeriod.Start)
	if err != nil {
		return jsonError("ValidationException", err.Error())
	}
	end, err := time.Parse(isoDay, q.TimePeriod.End)
	if err != nil || !start.Before(end) {
		return jsonError("ValidationException", "Start must be before End")
	}
	if c.operation == "GetCostForecast" {
		return s.forecast(start, end)
	}
	if len(q.Filter) > 0 && !q.taxOnly() {
		s.counts.approximate(c)
	}
	periods := []period{}
	for at := start; at.Before(end); {
		next := at.AddDate(0, 0, 1)
		if q.Granularity == "MONTHLY" {
			next = time.Date(at.Year(), at.Month()+1, 1, 0, 0, 0, 0, time.UTC)
			if next.After(end) {
				next = end
			}
		}
		periods = append(periods, period{at, next})
		at = next
	}
	return s.costPage(&q, periods)
}

// costPage writes the groups from the token's number on; groups come by period, account, service.
func (s *server) costPage(q *costRequest, periods []period) answer {
	skip, err := strconv.Atoi("0" + q.NextPageToken)
	if err != nil {
		return jsonError("InvalidNextTokenException", "the token is unknown")
	}
	last := skip + s.groupsPerPage
	out := make([]byte, 0, 1<<20)
	out = append(out, `{"ResultsByTime":[`...)
	position, lines := 0, 0
	seen := make([]bool, len(s.organization.accounts))
	for _, each := range periods {
		keys := s.keys(q, each)
		first := position
		position += len(keys)
		from, to := min(max(skip-first, 0), len(keys)), min(max(last-first, 0), len(keys))
		if from == to && !(len(keys) == 0 && first >= skip && first < last) {
			continue
		}
		if lines > 0 {
			out = append(out, ',')
		}
		lines++
		out = append(out, fmt.Sprintf(
			`{"TimePeriod":{"Start":%q,"End":%q},"Total":`, each.start.Format(isoDay), each.end.Format(isoDay),
		)...)
		if len(q.GroupBy) == 0 {
			var total int64
			for _, k := range keys {
				total += s.amount(q, each, k)
			}
			out = s.appendMetrics(out, q, total)
		} else {
			out = append(out, "{}"...)
		}
		out = append(out, `,"Groups":[`...)
		for index := from; index < to && len(q.GroupBy) > 0; index++ {
			if index > from {
				out = append(out, ',')
			}
			out = s.appendGroup(out, q, each, keys[index], seen)
		}
		out = append(out, fmt.Sprintf(`],"Estimated":%t}`, s.estimated(each.start))...)
	}
	out = append(out, "]"...)
	if position > last {
		out = append(out, fmt.Sprintf(`,"NextPageToken":"%d"`, last)...)
	}
	out = s.appendAttributes(out, seen)
	headers := map[string]string{"Content-Type": "application/x-amz-json-1.1"}
	return answer{200, headers, append(out, '}')}
}

// costKey is an account and a service; -1 is all of them, `tax` the charge on the first of a month.
type costKey struct {
	account, service int
	tax              bool
}

func (s *server) keys(q *costRequest, each period) []costKey {
	byAccount, byService := false, false
	for _, g := range q.GroupBy {
		byAccount = byAccount || g.Key == "LINKED_ACCOUNT"
		byService = byService || g.Key == "SERVICE"
	}
	accounts, services := 1, 1
	if byAccount {
		accounts = len(s.organization.accounts)
	}
	if byService {
		services = len(s.services)
	}
	taxed := each.start.Day() == 1
	if q.taxOnly() {
		services = 0
	}
	keys := make([]costKey, 0, accounts*(services+1))
	for account := 0; account < accounts; account++ {
		which := account
		if !byAccount {
			which = -1
		}
		for service := 0; service < services; service++ {
			if byService {
				keys = append(keys, costKey{which, service, false})
			} else {
				keys = append(keys, costKey{which, -1, false})
			}
		}
		if taxed && (byService || q.taxOnly()) {
			keys = append(keys, costKey{which, -1, true})
		}
	}
	return keys
}

func (s *server) appendGroup(out []byte, q *costRequest, each period, k costKey, seen []bool) []byte {
	out = append(out, `{"Keys":[`...)
	for index, g := range q.GroupBy {
		if index > 0 {
			out = append(out, ',')
		}
		value := "Replayed"
		switch {
		case g.Key == "LINKED_ACCOUNT":
			value = s.organization.accounts[k.account].id
			seen[k.account] = true
		case g.Key == "SERVICE" && k.tax:
			value = taxService
		case g.Key == "SERVICE":
			value = s.services[k.service]
		case g.Type == "TAG" || g.Type == "COST_CATEGORY":
			value = g.Key + "$replayed"
		}
		out = strconv.AppendQuote(out, value)
	}
	out = append(out, `],"Metrics":`...)
	out = s.appendMetrics(out, q, s.amount(q, each, k))
	return append(out, '}')
}

// share is in ten thousandths of the unblended cost.
var share = map[string]int64{
	"UnblendedCost": 10_000, "BlendedCost": 10_000, "AmortizedCost": 10_250, "NetUnblendedCost": 9_700,
	"NetAmortizedCost": 9_940,
}

func (s *server) appendMetrics(out []byte, q *costRequest, units int64) []byte {
	out = append(out, '{')
	for index, name := range q.Metrics {
		if index > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendQuote(out, name)
		out = append(out, `:{"Amount":"`...)
		amount := units
		if of := share[name]; of != 0 && of != 10_000 {
			amount = units / 10_000 * of
		}
		out = appendAmount(out, amount)
		out = append(out, `","Unit":"USD"}`...)
	}
	return append(out, '}')
}

func appendAmount(out []byte, units int64) []byte {
	out = strconv.AppendInt(out, units/unitsADollar, 10)
	fraction := strconv.FormatInt(units%unitsADollar+unitsADollar, 10)
	return append(append(out, '.'), fraction[1:]...)
}

func (s *server) appendAttributes(out []byte, seen []bool) []byte {
	out = append(out, `,"DimensionValueAttributes":[`...)
	first := true
	for index, there := range seen {
		if !there {
			continue
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		a := s.organization.accounts[index]
		out = append(out, fmt.Sprintf(`{"Value":%q,"Attributes":{"description":%q}}`, a.id, a.name)...)
	}
	return append(out, ']')
}

// estimated is whether the day's month is still open: up to the 10th of the next one.
func (s *server) estimated(day time.Time) bool {
	today := s.now()
	return !time.Date(day.Year(), day.Month()+1, 11, 0, 0, 0, 0, time.UTC).Before(today)
}

func (s *server) amount(q *costRequest, each period, k costKey) int64 {
	var sum int64
	for day := each.start; day.Before(each.end); day = day.AddDate(0, 0, 1) {
		sum += s.dayAmount(q, day, k)
	}
	return sum
}

// dayAmount is the unblended cost of a day: all that `k` leaves open is added up.
func (s *server) dayAmount(q *costRequest, day time.Time, k costKey) int64 {
	from, to := k.account, k.account+1
	if k.account < 0 {
		from, to = 0, len(s.organization.accounts)
	}
	var sum int64
	for account := from; account < to; account++ {
		switch {
		case k.tax:
			sum += s.taxOf(account, day)
		case k.service >= 0:
			sum += s.cost(account, k.service, day)
		default:
			for service := range s.services {
				sum += s.cost(account, service, day)
			}
			if day.Day() == 1 {
				sum += s.taxOf(account, day)
			}
		}
	}
	return sum
}

// cost is deterministic: a level of the account and service, up to a tenth more or less by day.
// Of today there is as much as the hours that have passed.
func (s *server) cost(account, service int, day time.Time) int64 {
	number := day.Unix() / 86_400
	level := int64(mix(uint64(account)<<20|uint64(service))%(50*unitsADollar)) + unitsADollar/10
	wave := int64(mix(uint64(account)<<40|uint64(service)<<20|uint64(number))%200_000) + 900_000
	units := level / 1_000_000 * wave
	now := s.now()
	if now.Unix()/86_400 == number {
		units = units / 24 * int64(now.Hour()+1)
	}
	return units
}

func (s *server) taxOf(account int, day time.Time) int64 {
	if day.Day() != 1 {
		return 0
	}
	return int64(mix(uint64(account)|1<<60)%(20*unitsADollar)) + unitsADollar
}

func (s *server) forecast(start, end time.Time) answer {
	amount := func(percent int64) string {
		units := int64(len(s.organization.accounts)) * int64(len(s.services)) * 25 * unitsADollar / 100 * percent
		return string(appendAmount(nil, units))
	}
	return jsonAnswer(map[string]any{
		"Total": map[string]any{"Amount": amount(100), "Unit": "USD"},
		"ForecastResultsByTime": []any{map[string]any{
			"TimePeriod":                   map[string]any{"Start": start.Format(isoDay), "End": end.Format(isoDay)},
			"MeanValue":                    amount(100),
			"PredictionIntervalLowerBound": amount(90),
			"PredictionIntervalUpperBound": amount(110),
		}},
	})
}
