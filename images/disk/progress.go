package disk

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// progress shows on one line how far a copy is.
type progress struct {
	out          io.Writer
	what         string
	done, total  int64 // bytes
	start, shown time.Time
	now          func() time.Time
}

func newProgress(out io.Writer, what string, total int64) *progress {
	p := &progress{out: out, what: what, total: max(total, 1), now: time.Now}
	p.start = p.now()
	return p
}

// add counts bytes, and shows the line ten times a second at most.
func (p *progress) add(n int64) {
	p.done += n
	if t := p.now(); t.Sub(p.shown) >= 100*time.Millisecond {
		p.shown = t
		p.show(t)
	}
}

func (p *progress) show(t time.Time) {
	const width = 30
	full := int(p.done * width / p.total)
	line := fmt.Sprintf("\r%-10s [%s%s] %3d %%", p.what, strings.Repeat("#", full), strings.Repeat(".", width-full), p.done*100/p.total)
	if s := t.Sub(p.start).Seconds(); s > 0 && p.done > 0 {
		rate := float64(p.done) / s
		line += fmt.Sprintf("  %6.1f MB/s", rate/1e6)
		if left := float64(p.total-p.done) / rate; left >= 1 {
			line += fmt.Sprintf("  %v left", time.Duration(left*float64(time.Second)).Round(time.Second))
		}
	}
	fmt.Fprint(p.out, line, "\x1b[K")
}

// end shows the last state, and ends the line.
func (p *progress) end() {
	p.show(p.now())
	fmt.Fprintln(p.out)
}
