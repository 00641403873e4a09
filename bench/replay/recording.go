package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"
)

type recordedRequest struct{ Region, Method, Path, Query, Target, Body string }

type exchange struct {
	Service   string
	Operation string
	Request   recordedRequest
	Status    int
	Headers   map[string]string
	Body      string

	template template
}

type metric struct {
	Region     string
	Namespace  string
	Name       string
	Dimensions [][2]string
	Recent     bool

	templates []template // of the values of the dimensions
}

type recording struct {
	RecordedAt string `json:"recorded_at"`
	AccountID  string `json:"account_id"`
	Account    string
	Regions    []string
	Exchanges  []*exchange
	Metrics    []*metric

	suffixes  []string
	own       *regexp.Regexp
	byRequest map[string]*exchange
	byAction  map[string]*exchange // by signing name, region and operation: the first
	services  map[string]string    // botocore's name by signing name
	byRegion  map[string][]*metric
}

// load reads a recording and moves its times by whole days, so that what was a month old is a month old now.
func load(path string, now time.Time) (*recording, error) {
	packed, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	r := &recording{}
	if err := json.NewDecoder(reader).Decode(r); err != nil {
		return nil, err
	}
	recorded, err := time.Parse(time.RFC3339, r.RecordedAt)
	if err != nil {
		return nil, err
	}
	for _, region := range r.Regions {
		r.suffixes = append(r.suffixes, suffix(r.AccountID, region))
	}
	r.own = placesOf(r.AccountID, r.Account, r.suffixes)
	r.byRequest, r.byAction = map[string]*exchange{}, map[string]*exchange{}
	r.byRegion = map[string][]*metric{}
	days := int(now.Sub(recorded).Hours() / 24)
	for _, e := range r.Exchanges {
		body, err := base64.StdEncoding.DecodeString(e.Body)
		if err != nil {
			return nil, err
		}
		asked, err := base64.StdEncoding.DecodeString(e.Request.Body)
		if err != nil {
			return nil, err
		}
		e.template = r.parse(shifted(string(body), days))
		q := e.Request
		name := canonical(q.Region, q.Method, q.Path, q.Query, q.Target, asked)
		r.byRequest[signingName(e.Service)+" "+name] = e
		action := strings.Join([]string{signingName(e.Service), q.Region, e.Operation}, " ")
		if r.byAction[action] == nil {
			r.byAction[action] = e
		}
	}
	for _, m := range r.Metrics {
		for _, dimension := range m.Dimensions {
			m.templates = append(m.templates, r.parse(dimension[1]))
		}
		r.byRegion[m.Region] = append(r.byRegion[m.Region], m)
	}
	return r, nil
}

// signingName is what requests to a service (by botocore's name) are signed with, where it is another name.
func signingName(service string) string {
	switch service {
	case "efs":
		return "elasticfilesystem"
	case "elb", "elbv2":
		return "elasticloadbalancing"
	case "opensearch":
		return "es"
	case "resourcegroupstaggingapi":
		return "tagging"
	}
	return service
}

// -- requests --------------------------------------------------------------------------------------------------

// canonical is the same for requests that ask the same: members in order, nothing escaped.
func canonical(region, method, path, query, target string, body []byte) string {
	if unescaped, err := url.PathUnescape(path); err == nil {
		path = unescaped
	}
	return strings.Join([]string{region, method, path, form(query), target, canonicalBody(target, body)}, "\n")
}

func canonicalBody(target string, body []byte) string {
	text := string(body)
	if strings.HasPrefix(text, "Action=") || strings.Contains(text, "&Action=") {
		return form(text)
	}
	var members any
	if json.Unmarshal(body, &members) == nil {
		if ordered, err := json.Marshal(members); err == nil {
			return string(ordered)
		}
	}
	return text
}

func form(text string) string {
	values, err := url.ParseQuery(text)
	if err != nil {
		return text
	}
	parts := []string{}
	for name, each := range values {
		for _, value := range each {
			parts = append(parts, name+"="+value)
		}
	}
	sort.Strings(parts)
	return strings.Join(parts, "&")
}

// replay answers from the recording: the same request, or another one of the operation.
func (s *server) replay(c *call) answer {
	asked := canonical(c.region, c.request.Method, c.request.URL.Path, c.request.URL.RawQuery, c.target, c.body)
	found := s.recording.byRequest[c.signed+" "+s.recording.asRecorded(asked, c.account)]
	if found == nil {
		if c.operation == "" {
			if values, err := url.ParseQuery(string(c.body)); err == nil {
				c.operation = values.Get("Action")
			}
		}
		if c.operation == "" {
			c.operation = c.request.Method + " " + c.request.URL.Path
		}
		found = s.recording.byAction[strings.Join([]string{c.signed, c.region, c.operation}, " ")]
		if found == nil {
			return s.unknown(c)
		}
		c.service = found.Service
		s.counts.approximate(c)
	}
	c.service, c.operation = found.Service, found.Operation
	return answer{found.Status, found.Headers, found.template.render(s.recording, c.account)}
}

// unknown refuses what is neither recorded nor made up; the counts show it as an error of the operation.
func (s *server) unknown(c *call) answer {
	if c.target != "" {
		return jsonError("UnknownOperationException", c.operation+" is not recorded")
	}
	return xmlError(400, "InvalidAction", c.operation+" is not recorded")
}

// -- substitution ----------------------------------------------------------------------------------------------

// place is a part of an answer: text as it is, or what is different in each account.
type place struct {
	kind string // "", "id", "name", "suffix", "hex"
	text string
	at   int // which suffix
}

type template []place

// placesOf finds what takes another account's place: its id, its name, the ends of names, and random ids.
func placesOf(id, name string, suffixes []string) *regexp.Regexp {
	return regexp.MustCompile(
		id + `|\b` + regexp.QuoteMeta(name) + `\b|\b[0-9a-f]{8,}\b|(?:` + strings.Join(suffixes, "|") + `)\b`,
	)
}

func split(text string, pattern *regexp.Regexp, id, name string, suffixes []string) template {
	parts := template{}
	from := 0
	for _, match := range pattern.FindAllStringIndex(text, -1) {
		found := text[match[0]:match[1]]
		next := place{kind: "hex", text: found}
		switch {
		case found == id:
			next.kind = "id"
		case found == name:
			next.kind = "name"
		case len(found) == 6:
			next.kind = "suffix"
			for index, each := range suffixes {
				if each == found {
					next.at = index
				}
			}
		case !mixed(found):
			continue // a number or a word
		}
		parts = append(parts, place{text: text[from:match[0]]}, next)
		from = match[1]
	}
	return append(parts, place{text: text[from:]})
}

func mixed(text string) bool {
	return strings.ContainsAny(text, "0123456789") && strings.ContainsAny(text, "abcdef")
}

func (r *recording) parse(text string) template {
	return split(text, r.own, r.AccountID, r.Account, r.suffixes)
}

func (t template) render(r *recording, a *account) []byte {
	size := 0
	for _, part := range t {
		size += len(part.text) + 8
	}
	out := make([]byte, 0, size)
	for _, part := range t {
		switch part.kind {
		case "":
			out = append(out, part.text...)
		case "id":
			out = append(out, a.id...)
		case "name":
			out = append(out, a.name...)
		case "suffix":
			out = append(out, a.suffixes[part.at]...)
		case "hex":
			out = appendMoved(out, part.text, a.index+1, 1)
		}
	}
	return out
}

// asRecorded is a request with the recorded account's ids and names instead of those of `a`.
func (r *recording) asRecorded(text string, a *account) string {
	a.once.Do(func() { a.foreign = placesOf(a.id, a.name, a.suffixes) })
	out := make([]byte, 0, len(text))
	for _, part := range split(text, a.foreign, a.id, a.name, a.suffixes) {
		switch part.kind {
		case "":
			out = append(out, part.text...)
		case "id":
			out = append(out, r.AccountID...)
		case "name":
			out = append(out, r.Account...)
		case "suffix":
			out = append(out, r.suffixes[part.at]...)
		case "hex":
			out = appendMoved(out, part.text, a.index+1, -1)
		}
	}
	return string(out)
}

// appendMoved moves the first eight characters of a hexadecimal id by the digits of `number` to the base 6: digits
// stay digits and letters letters, so that ids stay recognizable, and those of different accounts differ.
func appendMoved(out []byte, id string, number, sign int) []byte {
	for index := 0; index < len(id); index++ {
		letter := id[index]
		if index < 8 {
			step := sign * (number % 6)
			number /= 6
			if letter <= '9' {
				letter = '0' + byte((int(letter-'0')+step+10)%10)
			} else {
				letter = 'a' + byte((int(letter-'a')+step+6)%6)
			}
		}
		out = append(out, letter)
	}
	return out
}

// -- times -----------------------------------------------------------------------------------------------------

var (
	isoTime = regexp.MustCompile(`\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d`)
	epoch   = regexp.MustCompile(`([:"] ?)(1[5-9]\d{8})(\d{3})?(\.\d+)?([,}"\]])`)
)

// shifted moves every time of an answer by whole days: ISO 8601, and epochs in seconds or milliseconds in JSON.
func shifted(text string, days int) string {
	if days == 0 {
		return text
	}
	text = isoTime.ReplaceAllStringFunc(text, func(found string) string {
		at, err := time.Parse("2006-01-02T15:04:05", found)
		if err != nil {
			return found
		}
		return at.AddDate(0, 0, days).Format("2006-01-02T15:04:05")
	})
	return epoch.ReplaceAllStringFunc(text, func(found string) string {
		parts := epoch.FindStringSubmatch(found)
		seconds, _ := strconv.ParseInt(parts[2], 10, 64)
		return fmt.Sprintf("%s%d%s%s%s", parts[1], seconds+int64(days)*86_400, parts[3], parts[4], parts[5])
	})
}
