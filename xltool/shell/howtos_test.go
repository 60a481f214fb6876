package shell

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"nidus/rpc/control"
)

// watched is an output that tells when a text has come.
type watched struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	text string
	seen chan struct{}
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	had := strings.Contains(w.buf.String(), w.text)
	w.buf.Write(p)
	if !had && strings.Contains(w.buf.String(), w.text) {
		close(w.seen)
	}
	return len(p), nil
}

// TestHowtoConsole: what the howtos say of consoles: create -c shows the guest's
// from its first byte, console attaches again, and ^] leaves both.
func TestHowtoConsole(t *testing.T) {
	f := newFake()
	for _, tt := range []struct{ line, see string }{
		{"xl create -c /usr/pkg/etc/xen/foo", "booting domU-id"},
		{"xl console domU-id", "booting domU-id"},
		{"xl console -t pv -n 0 domU-id", "booting domU-id"},
		{"xm create -c foo name=other", "booting other"},
		{"xm console other", "history of other"},
	} {
		r, w := io.Pipe()
		out := &watched{text: tt.see, seen: make(chan struct{})}
		done := make(chan int)
		go func() { done <- Main(t.Context(), strings.Fields(tt.line), r, out, io.Discard, f) }()
		select {
		case <-out.seen:
		case st := <-done:
			t.Fatalf("%s: ended with %d before %q came: %q", tt.line, st, tt.see, out.buf.String())
		}
		w.Write([]byte{consoleExit})
		if st := <-done; st != ExitSuccess {
			t.Errorf("%s: exit %d", tt.line, st)
		}
		w.Close()
	}
}

// TestCreateForeground: create -F returns when the domain is gone.
func TestCreateForeground(t *testing.T) {
	f := newFake()
	done := make(chan int)
	var out bytes.Buffer
	go func() {
		done <- Main(t.Context(), []string{"create", "-q", "-F", "debian.cfg"}, strings.NewReader(""), &out, &out, f)
	}()
	for {
		ds, err := f.ListDomains(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if len(ds) == 2 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	select {
	case st := <-done:
		t.Fatalf("exit %d while the domain runs", st)
	default:
	}
	if err := f.Destroy(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	if st := <-done; st != ExitSuccess {
		t.Errorf("exit %d: %s", st, out.String())
	}
}

// TestXendomains reads xl list as the rc.d scripts xendomains of NetBSD's and
// FreeBSD's packages do with awk: they skip two lines (FNR > 2), take the name
// from column 1, and count who has no s in column 5 as still running.
func TestXendomains(t *testing.T) {
	f := newFake()
	states := map[string]control.State{
		"running": control.StateRunning, "blocked": control.StateBlocked, "paused": control.StatePaused | control.StateBlocked, "idle": 0,
		"down": control.StateShutdown, "crashed": control.StateShutdown, "dying": control.StateDying | control.StateShutdown,
		strings.Repeat("n", control.MaxNameLen): control.StateBlocked,
	}
	for name, st := range states {
		id := f.add(control.DomainConfig{Name: name, MemoryBytes: 1 << 44, MaxMemoryBytes: 1 << 44, VCPUs: 128, MaxVCPUs: 128}, st)
		d := &f.domains[id].info
		d.CPUTime = time.Duration(1<<63 - 1)
		if name == "crashed" {
			d.Reason = control.ShutdownCrash
		}
	}
	var out bytes.Buffer
	if st := Main(context.Background(), []string{"list"}, nil, &out, &out, f); st != 0 {
		t.Fatal(out.String())
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 2+len(states) || !strings.HasPrefix(lines[0], "Name ") || !strings.HasPrefix(lines[1], "Domain-0 ") {
		t.Fatalf("%d lines:\n%s", len(lines), out.String())
	}
	for _, line := range lines[2:] {
		cols := strings.Fields(line)
		st, known := states[cols[0]]
		if len(cols) != 6 || !known {
			t.Errorf("columns of %q", line)
			continue
		}
		if stopped := strings.Contains(cols[4], "s"); stopped != (st&control.StateShutdown != 0) {
			t.Errorf("state %q of %s", cols[4], cols[0])
		}
		if len(cols[4]) != 6 {
			t.Errorf("state %q has not 6 letters", cols[4])
		}
		var id, mem, vcpus int
		var sec float64
		if n, err := fmt.Sscan(strings.Join([]string{cols[1], cols[2], cols[3], cols[5]}, " "), &id, &mem, &vcpus, &sec); n != 4 {
			t.Errorf("numbers of %q: %v", line, err)
		}
	}
}
