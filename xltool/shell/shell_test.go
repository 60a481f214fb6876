package shell

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nidus/rpc/client"
	"nidus/rpc/control"
	"nidus/rpc/server"
)

var update = flag.Bool("update", false, "write the golden files")

// TestCommands runs lists of commands one after the other on one fake host, and
// compares all output and exit statuses with a file of testdata: on the machine
// itself, and over a connection.
func TestCommands(t *testing.T) {
	for name, lines := range scripts {
		t.Run(name+"/here", func(t *testing.T) {
			f := newFake()
			testCommands(t, f, withDevices(f, name), name, lines)
		})
		t.Run(name+"/remote", func(t *testing.T) {
			f := newFake()
			testCommands(t, f, connect(t, withDevices(f, name)), name, lines)
		})
	}
}

// withDevices gives the fake devices, if that is what a script is about.
func withDevices(f *fakePlane, script string) control.Plane {
	if script == "devices" {
		return &devicePlane{f, map[control.DomID][]control.DeviceInfo{}}
	}
	return f
}

// connect returns a client of a plane.
func connect(t *testing.T, p control.Plane) *client.Client {
	ours, theirs := net.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() { server.New(p, server.Options{}).ServeConn(context.Background(), theirs) })
	c, err := client.New(t.Context(), ours)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); wg.Wait() })
	return c
}

func testCommands(t *testing.T, f *fakePlane, p control.Plane, name string, lines []string) {
	var got strings.Builder
	for _, line := range lines {
		words, err := split(line)
		if err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		s := Session{Plane: p, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs}
		if name == "upload" {
			s.Open = openLocal
		}
		status := s.Exec(context.Background(), words)
		fmt.Fprintf(&got, "$ %s\n%s%s", line, out.String(), errs.String())
		if status != 0 {
			fmt.Fprintf(&got, "exit %d\n", status)
		}
		if (status != 0) != (strings.Contains(errs.String(), "xl")) && !strings.Contains(line, "exists") && !strings.HasPrefix(line, "xm ") {
			t.Errorf("%s: exit %d, but errors are %q", line, status, errs.String())
		}
	}
	fmt.Fprintf(&got, "asked:\n%s\n", strings.Join(slices.DeleteFunc(f.log, func(s string) bool {
		return strings.HasPrefix(s, "vcpu-list") || strings.HasPrefix(s, "sched") || strings.HasPrefix(s, "config")
	}), "\n"))
	golden := "testdata/" + name + ".golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	gl, wl := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gl), len(wl)) {
		if i >= len(gl) || i >= len(wl) || gl[i] != wl[i] {
			t.Fatalf("line %d:\n got %q\nwant %q", i+1, gl[min(i, len(gl)-1)], wl[min(i, len(wl)-1)])
		}
	}
}

// TestListColumns compares with the example of xl(1), list.
func TestListColumns(t *testing.T) {
	f := newFake()
	f.domains[0].info = control.DomainInfo{Name: "Domain-0", MemoryBytes: 750 << 20, VCPUs: 4, State: control.StateRunning, CPUTime: 11794_300_000_000}
	var out bytes.Buffer
	Main(context.Background(), []string{"list"}, nil, &out, &out, f)
	const want = "Name                                        ID   Mem VCPUs\tState\tTime(s)\n" +
		"Domain-0                                     0   750     4     r-----   11794.3\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestHostileNames(t *testing.T) {
	f := newFake()
	f.domains[0].info.Name = "a\x1b[2Jb\r\nc\u009b"
	for _, cmd := range []string{"list", "vcpu-list", "uptime", "sched-credit2", "list -v"} {
		var out bytes.Buffer
		if st := Main(context.Background(), strings.Fields(cmd), nil, &out, &out, f); st != 0 {
			t.Fatal(cmd, out.String())
		}
		if strings.ContainsAny(out.String(), "\x1b\r\u009b") || !strings.Contains(out.String(), "a?[2Jb??c?") {
			t.Errorf("%s: %q", cmd, out.String())
		}
	}
}

func TestSplit(t *testing.T) {
	for in, want := range map[string]string{
		"":                      `[]`,
		"  a  b\tc ":            `["a" "b" "c"]`,
		`a 'b c' "d e"`:         `["a" "b c" "d e"]`,
		`x='' ""`:               `["x=" ""]`,
		`a\ b "\"" '\' "\n"`:    `["a b" "\"" "\\" "\\n"]`,
		`a # b`:                 `["a"]`,
		`a#b`:                   `["a#b"]`,
		`'cpus="0-3"; vcpus=2'`: `["cpus=\"0-3\"; vcpus=2"]`,
		`k="a'b"`:               `["k=a'b"]`,
		`'a`:                    `error`,
		`"a\"`:                  `error`,
	} {
		words, err := split(in)
		got := fmt.Sprintf("%q", words)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestClock(t *testing.T) {
	for s, want := range map[int]string{0: " 0:00:00", 3661: " 1:01:01", 86399: "23:59:59", 86400: "1 day,  0:00:00", 200000: "2 days,  7:33:20"} {
		if got := clock(time.Duration(s) * time.Second); got != want {
			t.Errorf("%d s: %q, want %q", s, got, want)
		}
	}
}
