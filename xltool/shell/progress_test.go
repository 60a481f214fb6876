package shell

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"nidus/rpc/control"
)

func TestBarLine(t *testing.T) {
	for _, c := range []struct {
		what string
		at   control.Progress
		took time.Duration
		want string
	}{
		{"Creating a", control.Progress{}, 999 * time.Millisecond, "Creating a 0 s"},
		{"Creating a", control.Progress{Step: "kernel"}, 61 * time.Second, "Creating a: kernel 61 s"},
		{"Creating a", control.Progress{Step: "memory", Total: 7}, time.Second, "Creating a: memory 1 s [                    ]   0%"},
		{"Creating a", control.Progress{Step: "memory", Done: 1 << 40, Total: 1 << 41}, 3 * time.Second, "Creating a: memory 3 s [##########          ]  50%"},
		{"Uploading x", control.Progress{Done: 7, Total: 7}, time.Second, "Uploading x 1 s [####################] 100%"},
		{"Uploading x", control.Progress{Done: ^uint64(0), Total: 7}, time.Second, "Uploading x 1 s [####################] 100%"}, // it grew
		{"Uploading " + strings.Repeat("é", 50), control.Progress{Done: 1, Total: 7, Step: "a\x1b[J"}, time.Hour, "Uploading " + strings.Repeat("é", 27) + "... 3600 s [##                  ]  14%"},
	} {
		if got := barLine(c.what, c.at, c.took); got != c.want || len([]rune(got)) >= 80 {
			t.Errorf("%q, %+v: %q, want %q", c.what, c.at, got, c.want)
		}
	}
}

// A bar comes when work takes long, makes room for other output, and ends with a line;
// short work has none.
func TestBar(t *testing.T) {
	var short bytes.Buffer
	b := newBar(&short, "short", time.Hour, time.Hour)
	b.tell(control.Progress{Step: "x"})
	b.stop()
	b.stop()
	if short.Len() > 0 {
		t.Errorf("%q", short.String())
	}

	w := writes{make(chan string, 100)}
	b = newBar(w, "long", 0, time.Millisecond)
	w.expect(t, "\r\x1b[Klong 0 s")
	b.clear()
	w.expect(t, "\r\x1b[K")
	w.expect(t, "\r\x1b[Klong 0 s")
	b.watch(context.Background())
	control.ProgressOf(b.watch(context.Background()))(control.Progress{Step: "memory", Done: 1, Total: 2})
	w.expect(t, "\r\x1b[Klong: memory 0 s [##########          ]  50%")
	b.stop()
	w.expect(t, "\r\x1b[Klong: memory 0 s [##########          ]  50%\n")
}

type writes struct{ c chan string }

func (w writes) Write(p []byte) (int, error) { w.c <- string(p); return len(p), nil }

func (w writes) expect(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-w.c:
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("nothing, want %q", want)
	}
}

// TestNoBar: neither a file nor JSON gets one.
func TestNoBar(t *testing.T) {
	for _, c := range []call{
		{Session: &Session{}},
		{Session: &Session{Interactive: true}, opts: map[string][]string{"json": {""}}},
	} {
		b := c.progress("x")
		if b != nil {
			t.Error("a bar")
		}
		b.tell(control.Progress{})
		b.clear()
		b.stop()
		if ctx := context.Background(); b.watch(ctx) != ctx {
			t.Error("it asks for progress")
		}
	}
}
