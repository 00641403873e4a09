// Replay answers as AWS would for an organization of many accounts, quickly enough not to be what a bench measures.
//
// The inventory's answers come from a recording of one account (python -m bench.record), with account id, names and
// resource ids of the account that asks. STS, Organizations, CloudWatch and Cost Explorer are made up by formula.
// It prints one JSON line with url, payer and environment when it listens. Signatures are not checked.
//
//	GET  /-/counts           calls by operation and account, gaps between reads, what the recording lacks
//	GET  /-/counts?detail=1  the same with every (account, operation, region)
//	POST /-/mark             start counting again; gaps go on from the last read
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"
)

type server struct {
	organization  *organization
	recording     *recording
	counts        *counts
	latency       time.Duration
	ceLatency     time.Duration
	groupsPerPage int
	services      []string
	now           func() time.Time
}

// call is one request, as far as it is understood.
type call struct {
	request   *http.Request
	account   *account
	region    string
	signed    string // the name that the request is signed with
	service   string
	operation string
	target    string
	body      []byte
}

// answer is what goes over the wire.
type answer struct {
	status  int
	headers map[string]string
	body    []byte
}

var (
	credential = regexp.MustCompile(`Credential=([A-Z0-9]+)/\d{8}/([a-z0-9-]+)/([A-Za-z0-9._-]+)/aws4_request`)
	smithyPath = regexp.MustCompile(`^/service/([^/]+)/operation/([A-Za-z0-9]+)$`)
)

func (s *server) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	if strings.HasPrefix(request.URL.Path, "/-/") {
		s.control(writer, request)
		return
	}
	arrived := time.Now()
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return
	}
	c, refused := s.read(request, body)
	reply := refused
	if c != nil {
		reply = s.dispatch(c)
		s.counts.add(c, reply.status, arrived)
	}
	latency := s.latency
	if c != nil && c.signed == "ce" {
		latency = s.ceLatency
	}
	// What it took to make the answer is a part of the latency.
	time.Sleep(latency - time.Since(arrived))
	for name, value := range reply.headers {
		writer.Header().Set(name, value)
	}
	writer.Header().Set("Content-Length", fmt.Sprint(len(reply.body)))
	writer.Header().Set("x-amzn-RequestId", "00000000-0000-4000-8000-000000000000")
	writer.WriteHeader(reply.status)
	_, _ = writer.Write(reply.body)
}

func (s *server) read(request *http.Request, body []byte) (*call, answer) {
	match := credential.FindStringSubmatch(request.Header.Get("Authorization"))
	if match == nil {
		return nil, xmlError(403, "MissingAuthenticationToken", "the request is not signed")
	}
	who := s.organization.byAccessKey(match[1])
	if who == nil {
		return nil, xmlError(403, "InvalidClientTokenId", "the access key is unknown")
	}
	return &call{
		request: request,
		account: who,
		region:  match[2],
		signed:  match[3],
		target:  request.Header.Get("X-Amz-Target"),
		body:    body,
	}, answer{}
}

func (s *server) dispatch(c *call) answer {
	c.service = c.signed
	if _, operation, found := strings.Cut(c.target, "."); found {
		c.operation = operation
	}
	switch c.signed {
	case "sts":
		return s.sts(c)
	case "organizations":
		return s.organizations(c)
	case "ce":
		return s.costExplorer(c)
	case "monitoring":
		return s.cloudWatch(c)
	}
	if c.signed == "ec2" && strings.Contains(string(c.body), "Action=DescribeRegions&") {
		c.operation = "DescribeRegions"
		return s.describeRegions()
	}
	return s.replay(c)
}

func (s *server) control(writer http.ResponseWriter, request *http.Request) {
	writer.Header().Set("Content-Type", "application/json")
	switch {
	case request.URL.Path == "/-/counts":
		encoder := json.NewEncoder(writer)
		_ = encoder.Encode(s.counts.describe(time.Now(), request.URL.Query().Get("detail") != ""))
	case request.URL.Path == "/-/mark" && request.Method == http.MethodPost:
		s.counts.mark()
		_, _ = writer.Write([]byte("{}\n"))
	default:
		writer.WriteHeader(http.StatusNotFound)
		_, _ = writer.Write([]byte("{\"error\": \"GET /-/counts or POST /-/mark\"}\n"))
	}
}

func jsonAnswer(members any) answer {
	body, err := json.Marshal(members)
	if err != nil {
		panic(err)
	}
	return answer{200, map[string]string{"Content-Type": "application/x-amz-json-1.1"}, body}
}

func xmlAnswer(body string) answer {
	return answer{200, map[string]string{"Content-Type": "text/xml"}, []byte(body)}
}

func xmlError(status int, code, message string) answer {
	body := fmt.Sprintf(
		"<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>",
		code, message,
	)
	return answer{status, map[string]string{"Content-Type": "text/xml"}, []byte(body)}
}

func jsonError(code, message string) answer {
	body, _ := json.Marshal(map[string]string{"__type": code, "message": message})
	headers := map[string]string{"Content-Type": "application/x-amz-json-1.1", "x-amzn-ErrorType": code}
	return answer{400, headers, body}
}

func main() {
	log.SetFlags(0)
	port := flag.Int("port", 0, "port on 127.0.0.1; 0 takes a free one")
	accounts := flag.Int("accounts", 10, "accounts, the payer included")
	path := flag.String("recording", "", "recording of python -m bench.record")
	latency := flag.Duration("latency", 40*time.Millisecond, "before each answer")
	ceLatency := flag.Duration("ce-latency", 700*time.Millisecond, "before each answer of Cost Explorer")
	groups := flag.Int("groups-per-page", 5000, "groups on a page of GetCostAndUsage")
	services := flag.Int("services", 20, "services with cost in each account")
	flag.Parse()
	if *accounts < 1 || *groups < 1 || *services < 1 {
		log.Fatal("accounts, groups-per-page and services: at least 1")
	}
	recorded, err := load(*path, time.Now().UTC())
	if err != nil {
		log.Fatalf("the recording cannot be read: %v", err)
	}
	s := &server{
		organization:  newOrganization(*accounts, recorded),
		recording:     recorded,
		counts:        newCounts(),
		latency:       *latency,
		ceLatency:     *ceLatency,
		groupsPerPage: *groups,
		services:      costServices(*services),
		now:           func() time.Time { return time.Now().UTC() },
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	url := fmt.Sprintf("http://%s", listener.Addr())
	ready, _ := json.Marshal(map[string]any{
		"url":   url,
		"payer": s.organization.accounts[0].id,
		"pid":   os.Getpid(),
		"environment": map[string]string{
			"AWS_ENDPOINT_URL":          url,
			"AWS_ACCESS_KEY_ID":         payerKey,
			"AWS_SECRET_ACCESS_KEY":     "replayed-secret-of-nothing-0000000000000",
			"AWS_REGION":                recorded.Regions[0],
			"AWS_DEFAULT_REGION":        recorded.Regions[0],
			"AWS_EC2_METADATA_DISABLED": "true",
		},
	})
	fmt.Println(string(ready))
	log.Fatal(http.Serve(listener, s))
}
