package shell

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"nidus/rpc/control"
)

// topView is how top shows the domains, which its keys change.
type topView struct {
	delay time.Duration
	vcpus bool
	order int    // of orders
	typed string // a new delay's digits
	ask   bool   // a delay is being typed
}

// orders are what the domains are sorted by.
var orders = [...]struct {
	name string
	less func(a, b control.DomainInfo, last map[control.DomID]control.DomainInfo) int
}{
	{"number", func(a, b control.DomainInfo, _ map[control.DomID]control.DomainInfo) int {
		return cmp.Compare(a.ID, b.ID)
	}},
	{"CPU", func(a, b control.DomainInfo, last map[control.DomID]control.DomainInfo) int {
		return cmp.Compare(b.CPUTime-last[b.ID].CPUTime, a.CPUTime-last[a.ID].CPUTime)
	}},
	{"memory", func(a, b control.DomainInfo, _ map[control.DomID]control.DomainInfo) int {
		return cmp.Compare(b.MemoryBytes, a.MemoryBytes)
	}},
	{"name", func(a, b control.DomainInfo, _ map[control.DomID]control.DomainInfo) int {
		return strings.Compare(a.Name, b.Name)
	}},
}

func (v *topView) sort(ds []control.DomainInfo, last map[control.DomID]control.DomainInfo) {
	slices.SortStableFunc(ds, func(a, b control.DomainInfo) int { return orders[v.order].less(a, b, last) })
}

// help is the line of keys.
func (v *topView) help() string {
	if v.ask {
		return "delay in seconds, and Enter: " + v.typed
	}
	return fmt.Sprintf("  d  delay %v   v  vcpus   s  sort order: by %s   q  quit", v.delay, orders[v.order].name)
}

// quits tells whether a key ends top: xentop's q, and Escape.
func (v *topView) quits(k byte) bool { return !v.ask && (k|0x20 == 'q' || k == 0x1b) }

// key does what one of xentop's keys does, and tells whether that shows.
func (v *topView) key(k byte) bool {
	if v.ask {
		v.digit(k)
		return true
	}
	switch k | 0x20 {
	case 'd':
		v.ask, v.typed = true, ""
	case 's':
		v.order = (v.order + 1) % len(orders)
	case 'v':
		v.vcpus = !v.vcpus
	default:
		return false
	}
	return true
}

// digit takes a key of a delay; Enter ends it, and what is no delay changes nothing.
func (v *topView) digit(k byte) {
	switch {
	case k == '\r' || k == '\n':
		if d, err := parseDelay(v.typed); err == nil {
			v.delay = d
		}
		v.ask = false
	case k == 0x1b:
		v.ask = false
	case (k == 0x7f || k == '\b') && v.typed != "":
		v.typed = v.typed[:len(v.typed)-1]
	case (isDigitKey(k) || k == '.') && len(v.typed) < 8:
		v.typed += string(rune(k))
	}
}

func isDigitKey(k byte) bool { return k >= '0' && k <= '9' }

// parseDelay reads a time between two looks.
func parseDelay(s string) (time.Duration, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 0.1 && f <= 86400) {
		return 0, control.Errorf(control.ErrBadArgument, "%q is not a number of seconds from 0.1 to 86400", s)
	}
	return time.Duration(f * float64(time.Second)), nil
}

// vcpuTimes prints xentop's line of them.
func (c *call) vcpuTimes(ctx context.Context, id control.DomID) {
	vs, err := c.Plane.VCPUList(ctx, id)
	if err != nil { // it has gone
		return
	}
	c.printf("VCPUs(sec): ")
	for _, v := range vs {
		c.printf(" %2d: %10ds", v.ID, int64(v.Time.Seconds()))
	}
	c.printf("\n")
}

// topKeys gives the keys that are typed, one by one, if a person may type some, and
// makes the terminal pass them. restore undoes that.
func (c *call) topKeys(ctx context.Context) (keys <-chan byte, restore func(), err error) {
	if !c.Interactive || c.opt("b", "batch") {
		return nil, func() {}, nil
	}
	undo := func() {}
	if c.Raw != nil {
		if undo, err = c.Raw(); err != nil {
			return nil, nil, err
		}
	}
	in, ok := c.Stdin.(*input)
	if !ok {
		in = newInput()
		go in.pump(c.Stdin.Read) // ends with its reader, and so with the program
		s := *c.Session
		s.Stdout = &crlf{w: c.Stdout}
		c.Session = &s
	}
	ctx, cancel := context.WithCancel(ctx)
	out, done := make(chan byte), make(chan struct{})
	go func() {
		defer close(done)
		defer close(out)
		var b [1]byte
		for {
			if _, err := in.read(ctx, b[:]); err != nil {
				return
			}
			select {
			case out <- b[0]:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, func() { cancel(); <-done; undo() }, nil
}
