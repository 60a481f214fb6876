package regress

import (
	"bufio"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// goRow is a figure that a Go benchmark of this repository gives, on the build machine.
type goRow struct {
	bench string // as go test names it, without the number of CPUs
	name  string
	unit  string
	value func(line goLine) float64
}

// goLine is a line of go test -bench: values by their units.
type goLine map[string]float64

func microseconds(l goLine) float64 { return l["ns/op"] / 1e3 }
func cpuTime(l goLine) float64      { return l["cpu-us/op"] }
func perSecond(l goLine) float64    { return 1e9 / l["ns/op"] }
func gigabytes(l goLine) float64    { return l["MB/s"] / 1e3 }

var ringRows = []goRow{
	{"BenchmarkCall/ring-bell", "ring, doorbell: one call of 64 bytes", "us", microseconds},
	{"BenchmarkCall/ring-poll", "ring, polled: one call of 64 bytes", "us", microseconds},
	{"BenchmarkCall/unix", "Unix socket: one call of 64 bytes", "us", microseconds},
	{"BenchmarkCalls/ring-bell", "ring, doorbell: calls, many in flight", "1/s", perSecond},
	{"BenchmarkCalls/ring-poll", "ring, polled: calls, many in flight", "1/s", perSecond},
	{"BenchmarkCalls/unix", "Unix socket: calls, many in flight", "1/s", perSecond},
	{"BenchmarkBulk/ring-bell", "ring, doorbell: bulk", "GB/s", gigabytes},
	{"BenchmarkBulk/ring-poll", "ring, polled: bulk", "GB/s", gigabytes},
	{"BenchmarkBulk/unix", "Unix socket: bulk", "GB/s", gigabytes},
}

var rpcRows = []goRow{
	{"BenchmarkCall/ring/one", "RPC over the ring: one call", "us", microseconds},
	{"BenchmarkCall/unix/one", "RPC over a Unix socket: one call", "us", microseconds},
	{"BenchmarkCall/ring/many", "RPC over the ring: calls, many in flight", "1/s", perSecond},
	{"BenchmarkCall/ring/many", "RPC over the ring: CPU time of one of them", "us", cpuTime},
	{"BenchmarkCall/unix/many", "RPC over a Unix socket: calls, many in flight", "1/s", perSecond},
}

// goRepeats is how often each of them runs.
const goRepeats = 5

// ringSpeed measures the ring and the RPC between goroutines of one program.
func ringSpeed(t *T) ([]Figure, error) {
	var fs []Figure
	for _, p := range []struct {
		pkg, bench string
		rows       []goRow
	}{
		{"./rpc/ring", "^(BenchmarkCall|BenchmarkCalls|BenchmarkBulk)$", ringRows},
		{"./rpc/client", "^BenchmarkCall$", rpcRows},
	} {
		out, err := t.goTest("-run", "^$", "-bench", p.bench, "-benchtime", "300ms", "-count", strconv.Itoa(goRepeats), p.pkg)
		if err != nil {
			return fs, fmt.Errorf("%w: %s", err, out)
		}
		lines, err := parseGoBench(out)
		if err != nil {
			return fs, err
		}
		for _, r := range p.rows {
			var values []float64
			for _, l := range lines[r.bench] {
				values = append(values, r.value(l))
			}
			if len(values) == 0 {
				return fs, fmt.Errorf("the benchmarks of %s measured no %s", p.pkg, r.bench)
			}
			fs = append(fs, median(r.name, r.unit, values))
		}
	}
	return fs, nil
}

// cpuCount is what go test puts behind a benchmark's name.
var cpuCount = regexp.MustCompile(`-\d+$`)

// parseGoBench returns the lines of each benchmark.
func parseGoBench(out string) (map[string][]goLine, error) {
	all := map[string][]goLine{}
	for s := bufio.NewScanner(strings.NewReader(out)); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		line := goLine{}
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				return nil, fmt.Errorf("go test printed %q: %w", s.Text(), err)
			}
			line[f[i+1]] = v
		}
		if line["ns/op"] <= 0 {
			return nil, fmt.Errorf("go test printed %q, without a time", s.Text())
		}
		name := cpuCount.ReplaceAllString(f[0], "")
		all[name] = append(all[name], line)
	}
	return all, nil
}
