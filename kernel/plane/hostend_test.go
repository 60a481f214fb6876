package plane

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nidus/kernel/core"
	"nidus/kernel/domain/domaintest"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/rpc/control"
)

func TestNextMove(t *testing.T) {
	for _, c := range []struct {
		name string
		s    sight
		want move
	}{
		{"shut down", sight{ended: true, hurried: true, left: -1}, moveDone},
		{"listens", sight{listens: true, left: time.Second}, moveAsk},
		{"listens, old", sight{listens: true, left: -time.Hour}, moveAsk},
		{"listens, paused", sight{listens: true, paused: true}, moveAsk},
		{"asked", sight{listens: true, asked: true, left: 1}, moveWait},
		{"asked, paused since", sight{listens: true, asked: true, paused: true, left: 1}, moveWait},
		{"asked, listens no more", sight{asked: true, left: 1}, moveWait},
		{"asked, too late", sight{listens: true, asked: true, left: 0}, moveDestroy},
		{"asked, hurried", sight{listens: true, asked: true, hurried: true, left: time.Hour}, moveDestroy},
		{"listens, hurried", sight{listens: true, hurried: true, left: time.Hour}, moveDestroy},
		{"young, without driver", sight{left: 1}, moveWait},
		{"old, without driver", sight{left: 0}, moveDestroy},
		{"paused, without driver", sight{paused: true, left: time.Hour}, moveDestroy},
	} {
		m, why := c.s.next()
		if m != c.want || m == moveDestroy && why == "" {
			t.Errorf("%s: %v, %q; want %v", c.name, m, why, c.want)
		}
	}
}

// offMachine notes how it ended, and is none that does.
type offMachine struct {
	machine
	how chan string
}

func (m offMachine) PowerOff() error { m.how <- "off"; return errors.New("it stays on") }
func (m offMachine) Reboot() error   { m.how <- "reboot"; return nil }

// ender is a host whose end a test follows, in time that passes by itself.
type ender struct {
	host
	m    offMachine
	kill context.CancelFunc
	p    *Plane
}

// newEnder has the domains named: what a name begins with says what its guest does.
func newEnder(t *testing.T, names ...string) *ender {
	e := &ender{host: newHost(t), m: offMachine{how: make(chan string, 2)}}
	e.renew()
	const tick = 100 * time.Millisecond
	clock := time.NewTicker(tick)
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	go func() {
		for {
			select {
			case <-clock.C:
				e.host.m.Clock.Advance(int64(tick))
			case <-stop:
				return
			}
		}
	}()
	for _, n := range names {
		d := config(n)
		d.OnPoweroff, d.OnCrash = control.ActionPreserve, control.ActionPreserve
		if strings.HasPrefix(n, "again") {
			d.OnPoweroff = control.ActionRestart
		}
		e.guest(e.create(e.p, d), n)
	}
	return e
}

// renew makes a new control plane, after the old one's death.
func (e *ender) renew() {
	if e.kill != nil {
		e.kill()
		synctest.Wait()
	}
	var ctx context.Context
	ctx, e.kill = context.WithCancel(context.Background())
	e.Cleanup(e.kill)
	e.p = New(ctx, e.c, e.m)
}

// guest has a domain do what its name begins with: good and again power off about 3 s after
// they are asked, deaf doesn't; mute has no driver, late has one in 10 s; held is good
// but paused, dead has crashed.
func (e *ender) guest(d *core.Entry, name string) {
	store := e.store(d)
	kind := strings.TrimRight(name, "0123456789")
	listen := func() { store.Write("control/feature-poweroff", "1") }
	v := d.VCPUs[0].HV.(*domaintest.VCPU)
	v.Guest = func(x *virt.Exit) { // waits for interrupts
		v.Regs().RFLAGS |= virt.FlagIF
		*x = virt.Exit{Reason: virt.ReasonHLT}
	}
	if kind != "held" {
		d.Unpause()
	}
	switch kind {
	case "dead":
		d.Shutdown(xenabi.ShutdownCrash)
		return
	case "mute":
		return
	case "late":
		d.Created = d.Host.Clock.Now()
		time.AfterFunc(10*time.Second, listen)
	default:
		listen()
	}
	if kind == "deaf" {
		return
	}
	go func() {
		work := 3 // seconds
		for work > 0 {
			select {
			case <-d.Done():
				return
			case <-time.After(time.Second):
			}
			if v, _ := store.Read("control/shutdown"); v == "poweroff" && !d.Paused() {
				work--
			}
		}
		d.Shutdown(xenabi.ShutdownPoweroff)
	}()
}

// follow returns what a stream says, a word for each step, to its end.
func (e *ender) follow(s control.HostEndStream, err error) (said string, last error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
	defer s.Close()
	var words []string
	for {
		step, err := s.Next(context.Background())
		if err != nil {
			return strings.Join(words, " "), err
		}
		word := map[control.HostEndKind]string{control.HostEndBegun: "begun", control.HostEndAsked: "asked", control.HostEndStopped: "stopped", control.HostEndDestroyed: "destroyed", control.HostEndNow: "now"}[step.Kind]
		if step.Name != "" {
			word += ":" + step.Name
		}
		words = append(words, word)
		if step.Kind == control.HostEndNow {
			return strings.Join(words, " "), nil
		}
	}
}

func TestHostEnd(t *testing.T) {
	for _, c := range []struct {
		guests string
		limit  time.Duration
		force  bool
		want   string
		took   time.Duration // or 2 s less or more: several clocks tick at one moment, in any order
	}{
		{"", 0, false, "", 0},
		{"good1 good2 again3", 0, false, "asked:again3 stopped:again3 asked:good2 stopped:good2 asked:good1 stopped:good1", 9 * time.Second},
		{"good deaf", 0, false, "asked:deaf destroyed:deaf asked:good stopped:good", 63 * time.Second},
		{"deaf1 deaf2", 5 * time.Second, false, "asked:deaf2 destroyed:deaf2 asked:deaf1 destroyed:deaf1", 10 * time.Second},
		{"good mute", 7 * time.Second, false, "asked:mute destroyed:mute asked:good stopped:good", 6 * time.Second},
		{"good mute", 2 * time.Second, false, "destroyed:mute asked:good destroyed:good", 2 * time.Second},
		{"late", 20 * time.Second, false, "asked:late asked:late stopped:late", 13 * time.Second},
		{"held dead", 0, false, "stopped:dead asked:held stopped:held", 3 * time.Second},
		{"good deaf mute held dead", 0, true, "stopped:dead destroyed:held destroyed:mute destroyed:deaf destroyed:good", 0},
	} {
		t.Run(c.guests, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEnder(t, strings.Fields(c.guests)...)
				begin := time.Now()
				said, err := e.follow(e.p.HostReboot(t.Context(), control.HostEndOptions{Limit: c.limit, Force: c.force}))
				took := time.Since(begin)
				want := strings.Join(strings.Fields("begun "+c.want+" now"), " ")
				if err != nil || said != want || (took-c.took).Abs() > 2*time.Second {
					t.Errorf("in %v: %q, %v; want %q in %v", took, said, err, want, c.took)
				}
				if how := <-e.m.how; how != "reboot" || e.names() != "" {
					t.Errorf("%s with the domains %q", how, e.names())
				}
			})
		})
	}
}

// Nothing is created meanwhile; a second request hurries, and its kind counts. The
// first one's client may leave. When the machine stays on, all is as before.
func TestHostEndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnder(t, "good", "deaf")
		for _, limit := range []time.Duration{-1, 1, 25 * time.Hour} {
			if _, err := e.p.PowerOff(t.Context(), control.HostEndOptions{Limit: limit}); !errors.Is(err, control.ErrBadArgument) {
				t.Errorf("a limit of %v: %v", limit, err)
			}
		}
		if e.c.Ending() != nil {
			t.Fatal("it has begun all the same")
		}
		first, err := e.p.HostReboot(t.Context(), control.HostEndOptions{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		first.Close()
		if _, err := first.Next(t.Context()); err != io.EOF {
			t.Error(err)
		}
		if _, err := e.p.Create(t.Context(), config("new"), control.CreateOptions{}); !errors.Is(err, control.ErrBadState) || !strings.Contains(err.Error(), "shutting down") {
			t.Error("created meanwhile:", err)
		}
		begin := time.Now()
		s, err := e.p.PowerOff(t.Context(), control.HostEndOptions{})
		said, err := e.follow(s, err)
		if want := "begun asked:deaf destroyed:deaf destroyed:good now"; said != want || err != nil || time.Since(begin) > time.Second {
			t.Errorf("%q, %v in %v; want %q", said, err, time.Since(begin), want)
		}
		if how := <-e.m.how; how != "off" {
			t.Error(how)
		}
		synctest.Wait()
		if _, err := e.p.Create(t.Context(), config("new"), control.CreateOptions{Paused: true}); err != nil {
			t.Error("the machine stayed on, and yet:", err)
		}
	})
}

// Who follows learns that the machine stays on.
func TestHostEndFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnder(t)
		s, err := e.p.PowerOff(t.Context(), control.HostEndOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for err == nil {
			_, err = s.Next(t.Context())
		}
		if !strings.Contains(err.Error(), "it stays on; the host goes on") {
			t.Error(err)
		}
	})
}

// A control plane that dies in the midst of it is followed by one that goes on, and
// gives no domain its time twice.
func TestHostEndOutlivesPlane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnder(t, "again", "deaf")
		begin := time.Now()
		s, err := e.p.PowerOff(t.Context(), control.HostEndOptions{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * time.Second)
		e.renew()
		for err == nil {
			_, err = s.Next(t.Context())
		}
		if how := <-e.m.how; how != "off" || e.names() != "" {
			t.Errorf("%s with the domains %q; the old stream: %v", how, e.names(), err)
		}
		if took := time.Since(begin); took < 60*time.Second || took > 66*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// What is in the midst of its creation when the host begins to end is not created.
func TestHostEndWhileCreating(t *testing.T) {
	h := newHost(t)
	p, _ := h.plane()
	h.c.Point = func(name string) {
		if name == "create: built" {
			h.c.End(false, control.HostEndOptions{})
		}
	}
	if _, err := p.Create(t.Context(), config("a"), control.CreateOptions{}); !errors.Is(err, control.ErrBadState) || h.names() != "" {
		t.Errorf("%v, domains %q", err, h.names())
	}
}
