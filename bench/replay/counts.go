package main

import (
	"maps"
	"sort"
	"sync"
	"time"
)

// key is what is read again and again.
type key struct{ account, operation, region string }

type reads struct {
	since  int       // reads since the mark
	last   time.Time // the last read
	gap    time.Duration
	status int
}

// counts is what was asked, by operation and account. Safe for any number of goroutines.
type counts struct {
	mutex        sync.Mutex
	marked       time.Time
	calls        int
	byOperation  map[string]int
	byAccount    map[string]int
	errors       map[string]int // answers of 400 and above, by operation
	approximated map[string]int // answered from another request of the operation
	reads        map[key]*reads
}

func newCounts() *counts {
	c := &counts{reads: map[key]*reads{}}
	c.reset()
	return c
}

func (c *counts) reset() {
	c.marked = time.Now()
	c.calls = 0
	c.byOperation = map[string]int{}
	c.byAccount = map[string]int{}
	c.errors = map[string]int{}
	c.approximated = map[string]int{}
}

// mark starts counting again. A gap goes on from the last read before it.
func (c *counts) mark() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.reset()
	for _, each := range c.reads {
		each.since, each.gap = 0, 0
	}
}

func (c *counts) add(made *call, status int, at time.Time) {
	operation := made.service + ":" + made.operation
	name := key{made.account.id, operation, made.region}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.calls++
	c.byOperation[operation]++
	c.byAccount[made.account.id]++
	if status >= 400 {
		c.errors[operation]++
	}
	found := c.reads[name]
	if found == nil {
		found = &reads{last: at}
		c.reads[name] = found
	}
	found.since++
	found.status = status
	found.gap = max(found.gap, at.Sub(found.last))
	found.last = at
}

func (c *counts) approximate(made *call) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.approximated[made.service+":"+made.operation]++
}

type readsOfKey struct {
	Account   string  `json:"account_id"`
	Operation string  `json:"operation"`
	Region    string  `json:"region"`
	Reads     int     `json:"reads"`
	Gap       float64 `json:"longest_gap_seconds"`
}

// describe is the answer of /-/counts. A gap that has not ended counts up to now.
func (c *counts) describe(now time.Time, detail bool) map[string]any {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	gaps := map[string]float64{}
	keys := map[string]map[string]int{} // by operation: how many accounts and regions, least and most reads
	all := []readsOfKey{}
	for name, found := range c.reads {
		gap := max(found.gap, now.Sub(found.last)).Seconds()
		gaps[name.operation] = max(gaps[name.operation], gap)
		summary := keys[name.operation]
		if summary == nil {
			summary = map[string]int{"least_reads": found.since, "most_reads": found.since}
			keys[name.operation] = summary
		}
		summary["keys"]++
		summary["least_reads"] = min(summary["least_reads"], found.since)
		summary["most_reads"] = max(summary["most_reads"], found.since)
		if detail {
			all = append(all, readsOfKey{name.account, name.operation, name.region, found.since, gap})
		}
	}
	answer := map[string]any{
		"seconds":             now.Sub(c.marked).Seconds(),
		"calls":               c.calls,
		"by_operation":        maps.Clone(c.byOperation), // it is written once the lock is given back
		"by_account":          maps.Clone(c.byAccount),
		"errors":              maps.Clone(c.errors),
		"approximated":        maps.Clone(c.approximated),
		"keys":                keys,
		"longest_gap_seconds": gaps,
	}
	if detail {
		sort.Slice(all, func(i, j int) bool { return all[i].Gap > all[j].Gap })
		answer["reads"] = all
	}
	return answer
}
