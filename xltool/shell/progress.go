package shell

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"nidus/rpc/control"
)

// A bar shows on a terminal's current line how far work is that takes longer than a
// second, and how long it has taken. At the end it leaves that line: what comes next,
// such as a prompt, begins one of its own, as scripts expect. A nil bar shows nothing.
type bar struct {
	w     io.Writer
	what  string
	begin time.Time
	end   func() // of the goroutine that draws

	mu    sync.Mutex
	at    control.Progress
	drawn string // "" if nothing of it is on the line
}

// When a bar is drawn: at first, and again.
const (
	barAfter = time.Second
	barEvery = 250 * time.Millisecond
)

// progress begins a bar on standard error, if that is a terminal and the output is for
// people. The caller stops it.
func (c *call) progress(what string) *bar {
	if !c.Interactive || c.opt("json") {
		return nil
	}
	return newBar(c.Stderr, what, barAfter, barEvery)
}

func newBar(w io.Writer, what string, after, every time.Duration) *bar {
	b := &bar{w: w, what: printable(what), begin: time.Now()}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		t := time.NewTimer(after)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				b.draw()
				t.Reset(every)
			case <-stop:
				return
			}
		}
	}()
	b.end = sync.OnceFunc(func() { close(stop); <-stopped })
	return b
}

// tell changes how far the work is.
func (b *bar) tell(p control.Progress) {
	if b != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.at = p
	}
}

// watch makes the calls of ctx tell how far they are.
func (b *bar) watch(ctx context.Context) context.Context {
	if b == nil {
		return ctx
	}
	return control.WithProgress(ctx, b.tell)
}

// stop ends the bar, and its line if there is one. It may be called again.
func (b *bar) stop() {
	if b == nil {
		return
	}
	b.end()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.drawn != "" {
		io.WriteString(b.w, eraseLine+barLine(b.what, b.at, time.Since(b.begin))+"\n")
		b.drawn = ""
	}
}

// eraseLine goes to the line's begin and clears it (ECMA-48, EL).
const eraseLine = "\r\x1b[K"

// clear gives the line back for other output; the bar comes again behind it.
func (b *bar) clear() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.drawn != "" {
		io.WriteString(b.w, eraseLine)
		b.drawn = ""
	}
}

func (b *bar) draw() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if line := barLine(b.what, b.at, time.Since(b.begin)); line != b.drawn {
		io.WriteString(b.w, eraseLine+line)
		b.drawn = line
	}
}

// barLine is a bar's text, of less than 80 columns.
func barLine(what string, at control.Progress, took time.Duration) string {
	const whatLen, barLen = 40, 20
	if at.Step != "" {
		what += ": " + printable(at.Step)
	}
	if r := []rune(what); len(r) > whatLen {
		what = string(r[:whatLen-3]) + "..."
	}
	line := fmt.Sprintf("%s %d s", what, int(took.Seconds()))
	if at.Total == 0 {
		return line
	}
	share := min(float64(at.Done)/float64(at.Total), 1)
	full := int(share * barLen)
	return fmt.Sprintf("%s [%s%s] %3d%%", line, strings.Repeat("#", full), strings.Repeat(" ", barLen-full), int(share*100))
}

// reading counts what is read of a file for a bar.
type reading struct {
	r  io.Reader
	b  *bar
	at control.Progress
}

// Read implements io.Reader.
func (r *reading) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.at.Done += uint64(n)
	r.b.tell(r.at)
	return n, err
}
