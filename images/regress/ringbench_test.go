package regress

import "testing"

func TestParseGoBench(t *testing.T) {
	got, err := parseGoBench("goos: linux\nBenchmarkBulk/ring-bell-2 \t 166062\t 2000 ns/op\t32000.5 MB/s\t 0 B/op\n" +
		"BenchmarkBulk/ring-bell-2 \t 1\t 4000 ns/op\t16000 MB/s\t 0 B/op\nPASS\n")
	l := got["BenchmarkBulk/ring-bell"]
	if err != nil || len(got) != 1 || len(l) != 2 || microseconds(l[0]) != 2 || perSecond(l[1]) != 250000 || gigabytes(l[0]) != 32.0005 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"BenchmarkX-2 1 x ns/op\n", "BenchmarkX-2 1 5 B/op\n", "BenchmarkX-2 1 0 ns/op\n"} {
		if got, err := parseGoBench(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}
