package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	payerKey      = "AKIAREPLAYEDPAYER000"
	sessionPrefix = "ASIAREPLAY"
	listedAtOnce  = 20
	unitCount     = 10
)

// account is one account, and how its ids and names take the place of the recorded ones.
type account struct {
	index    int
	id       string
	name     string
	suffixes []string // by region, as fillers of the simulator end names

	once    sync.Once
	foreign *regexp.Regexp // what takes the recorded account's place in its answers
}

type organization struct {
	accounts  []*account
	byID      map[string]*account
	recording *recording
}

func newOrganization(count int, recorded *recording) *organization {
	o := &organization{byID: map[string]*account{}, recording: recorded}
	for index := 0; index < count; index++ {
		// Spread over the ids, as AWS draws them; 7,919 and 10^11 have no common factor.
		id := fmt.Sprintf("%012d", 100_000_000_000+int64(index)*7_919_000_003%900_000_000_000)
		a := &account{index: index, id: id, name: fmt.Sprintf("member%04d", index)}
		for _, region := range recorded.Regions {
			a.suffixes = append(a.suffixes, suffix(id, region))
		}
		o.accounts = append(o.accounts, a)
		o.byID[id] = a
	}
	return o
}

// suffix is what the simulator's fillers derive from account and region.
func suffix(accountID, region string) string {
	sum := sha256.Sum256([]byte(accountID + region))
	return hex.EncodeToString(sum[:])[:6]
}

func (o *organization) byAccessKey(key string) *account {
	if key == payerKey {
		return o.accounts[0]
	}
	index, err := strconv.Atoi(strings.TrimPrefix(key, sessionPrefix))
	if err != nil || !strings.HasPrefix(key, sessionPrefix) || index >= len(o.accounts) {
		return nil
	}
	return o.accounts[index]
}

// -- STS -------------------------------------------------------------------------------------------------------

func (s *server) sts(c *call) answer {
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return xmlError(400, "MalformedInput", "the form cannot be read")
	}
	c.operation = form.Get("Action")
	switch c.operation {
	case "GetCallerIdentity":
		return stsAnswer(c.operation, fmt.Sprintf(
			"<Arn>arn:aws:iam::%s:user/exporter</Arn><UserId>AIDAREPLAYED</UserId><Account>%s</Account>",
			c.account.id, c.account.id,
		))
	case "AssumeRole":
		arn := form.Get("RoleArn")
		parts := strings.Split(arn, ":")
		var target *account
		if len(parts) == 6 {
			target = s.organization.byID[parts[4]]
		}
		if target == nil {
			return xmlError(403, "AccessDenied", "no account has the role "+arn)
		}
		seconds, err := strconv.Atoi(form.Get("DurationSeconds"))
		if err != nil {
			seconds = 3600
		}
		expires := s.now().Add(time.Duration(seconds) * time.Second).Format("2006-01-02T15:04:05Z")
		return stsAnswer(c.operation, fmt.Sprintf(
			"<Credentials><AccessKeyId>%s%010d</AccessKeyId><SecretAccessKey>replayed</SecretAccessKey>"+
				"<SessionToken>replayed</SessionToken><Expiration>%s</Expiration></Credentials>"+
				"<AssumedRoleUser><AssumedRoleId>AROA:replay</AssumedRoleId><Arn>%s</Arn></AssumedRoleUser>",
			sessionPrefix, target.index, expires, arn,
		))
	}
	return xmlError(400, "InvalidAction", c.operation)
}

func stsAnswer(operation, result string) answer {
	return xmlAnswer(fmt.Sprintf(
		`<%sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%sResult>%s</%sResult>`+
			"<ResponseMetadata><RequestId>0</RequestId></ResponseMetadata></%sResponse>",
		operation, operation, result, operation, operation,
	))
}

// -- EC2's regions ---------------------------------------------------------------------------------------------

func (s *server) describeRegions() answer {
	var items strings.Builder
	for _, region := range s.recording.Regions {
		fmt.Fprintf(&items, "<item><regionName>%s</regionName><regionEndpoint>ec2.%s.amazonaws.com</regionEndpoint>"+
			"<optInStatus>opt-in-not-required</optInStatus></item>", region, region)
	}
	return xmlAnswer(`<DescribeRegionsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><regionInfo>` +
		items.String() + "</regionInfo></DescribeRegionsResponse>")
}

// -- Organizations ---------------------------------------------------------------------------------------------

type organizationsRequest struct {
	NextToken  string
	ParentId   string
	ChildId    string
	AccountId  string
	ResourceId string
	MaxResults int
}

const rootID = "r-re00"

func unitID(number int) string { return fmt.Sprintf("ou-re00-replay%02d", number) }

func (s *server) organizations(c *call) answer {
	var request organizationsRequest
	if len(c.body) > 0 {
		if err := json.Unmarshal(c.body, &request); err != nil {
			return jsonError("SerializationException", err.Error())
		}
	}
	o := s.organization
	switch c.operation {
	case "DescribeOrganization":
		return jsonAnswer(map[string]any{"Organization": map[string]any{
			"Id": "o-replay0000", "MasterAccountId": o.accounts[0].id, "FeatureSet": "ALL",
		}})
	case "ListRoots":
		root := map[string]any{"Id": rootID, "Name": "Root", "Arn": "arn:aws:organizations::" + o.accounts[0].id}
		return jsonAnswer(map[string]any{"Roots": []any{root}})
	case "ListOrganizationalUnitsForParent":
		units := []map[string]any{}
		for number := 0; request.ParentId == rootID && number < unitCount; number++ {
			units = append(units, map[string]any{"Id": unitID(number), "Name": fmt.Sprintf("Unit %d", number)})
		}
		return page(request, "OrganizationalUnits", units)
	case "ListAccounts", "ListAccountsForParent":
		found := []map[string]any{}
		for _, a := range o.accounts {
			if c.operation == "ListAccounts" || parentOf(a) == request.ParentId {
				found = append(found, described(a))
			}
		}
		return page(request, "Accounts", found)
	case "DescribeAccount":
		if a := o.byID[request.AccountId]; a != nil {
			return jsonAnswer(map[string]any{"Account": described(a)})
		}
	case "ListParents":
		if a := o.byID[request.ChildId]; a != nil {
			kind := map[bool]string{true: "ROOT", false: "ORGANIZATIONAL_UNIT"}[parentOf(a) == rootID]
			parent := map[string]any{"Id": parentOf(a), "Type": kind}
			return jsonAnswer(map[string]any{"Parents": []any{parent}})
		}
		return jsonAnswer(map[string]any{"Parents": []any{map[string]any{"Id": rootID, "Type": "ROOT"}}})
	case "ListTagsForResource":
		return jsonAnswer(map[string]any{"Tags": []any{map[string]any{"Key": "team", "Value": "replay"}}})
	}
	return s.unknown(c)
}

func parentOf(a *account) string {
	if a.index == 0 {
		return rootID
	}
	return unitID(a.index % unitCount)
}

func described(a *account) map[string]any {
	return map[string]any{
		"Id": a.id, "Name": a.name, "Email": a.name + "@example.com", "Status": "ACTIVE", "State": "ACTIVE",
		"Arn": "arn:aws:organizations::" + a.id + ":account/o-replay0000/" + a.id, "JoinedMethod": "CREATED",
		"JoinedTimestamp": 1600000000.0,
	}
}

func page(request organizationsRequest, member string, found []map[string]any) answer {
	start, err := strconv.Atoi("0" + request.NextToken)
	if err != nil || start > len(found) {
		return jsonError("InvalidInputException", "the token is unknown")
	}
	size := listedAtOnce
	if request.MaxResults > 0 && request.MaxResults < size {
		size = request.MaxResults
	}
	end := min(start+size, len(found))
	members := map[string]any{member: found[start:end]}
	if end < len(found) {
		members["NextToken"] = strconv.Itoa(end)
	}
	return jsonAnswer(members)
}
