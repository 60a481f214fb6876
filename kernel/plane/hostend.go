package plane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"nidus/kernel/console"
	"nidus/kernel/core"
	"nidus/rpc/control"
)

// The host's end: domains are asked to power off one after another, the newest first,
// for what was started later may need what was started before. That it has begun is in
// package core, so a control plane that is made anew goes on with it.

// PowerOff implements control.Plane.
func (p *Plane) PowerOff(_ context.Context, opt control.HostEndOptions) (control.HostEndStream, error) {
	return p.endHost(false, opt)
}

// HostReboot implements control.Plane.
func (p *Plane) HostReboot(_ context.Context, opt control.HostEndOptions) (control.HostEndStream, error) {
	return p.endHost(true, opt)
}

func (p *Plane) endHost(reboot bool, opt control.HostEndOptions) (control.HostEndStream, error) {
	if err := opt.Check(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	end := p.core.End(reboot, opt)
	if p.end == nil {
		p.end = newEndLog(p.log)
		go p.shutDown(end, p.end)
	}
	return p.end.listen(p.ctx), nil
}

// goOnEnding takes the host's end over from a control plane that died.
func (p *Plane) goOnEnding() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.end == nil {
		p.end = newEndLog(p.log)
		go p.shutDown(p.core.Ending(), p.end)
	}
}

// lastWord is how long those who follow the host's end may take to hear that it is
// there.
const lastWord = time.Second

// shutDown ends the domains, and then the host. It returns if that fails, or if the
// control plane dies.
func (p *Plane) shutDown(end *core.Ending, l *endLog) {
	what, _ := p.finale(end)
	l.say(control.HostEndBegun, nil, "The host %s; domains before it: %d, with %v for each", what, len(p.core.Domains()), end.Limit())
	for e := p.newest(); e != nil; e = p.newest() {
		p.stop(end, l, e)
		if p.core.Pass(p.ctx, "host's end: a domain is gone") != nil {
			return
		}
	}
	what, do := p.finale(end)
	l.say(control.HostEndNow, nil, "No domain is left: the host %s now", what)
	l.heard(lastWord)
	if p.ctx.Err() != nil {
		return // the next one does it
	}
	why := do()
	p.mu.Lock()
	p.end = nil
	p.mu.Unlock()
	p.core.EndFailed()
	l.fail(control.Errorf(control.ErrInternal, "%v; the host goes on, without domains", cmp.Or(why, errLives)))
}

// finale is how the host ends, as the last request has it.
func (p *Plane) finale(end *core.Ending) (what string, do func() error) {
	if end.Reboot() {
		return "reboots", p.machine.Reboot
	}
	return "powers off", p.machine.PowerOff
}

var errLives = errors.New("the machine did not end")

// newest returns the domain that was created last, or nil.
func (p *Plane) newest() *core.Entry {
	all := p.core.Domains()
	if len(all) == 0 {
		return nil
	}
	return slices.MaxFunc(all, func(a, b *core.Entry) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.ID, b.ID))
	})
}

// move is what is done next about a domain.
type move uint8

const (
	moveWait move = iota
	moveAsk
	moveDestroy
	moveDone // it has shut down
)

// sight is what a domain is at one look, and next decides by.
type sight struct {
	ended   bool
	hurried bool
	listens bool // to control/shutdown
	paused  bool
	asked   bool
	// left is what is left of the time that it got when it was asked, or, before that,
	// of the same time since it was created: within that its drivers may yet start.
	left time.Duration
}

// next decides what to do about a domain, and why.
func (s sight) next() (m move, why string) {
	switch {
	case s.ended:
		return moveDone, ""
	case s.hurried:
		return moveDestroy, "the host is not to wait for it"
	case s.asked && s.left <= 0:
		return moveDestroy, "it did not power off in time"
	case s.asked:
		return moveWait, ""
	case s.listens:
		return moveAsk, ""
	case s.paused:
		return moveDestroy, "it is paused and has no driver that could hear"
	case s.left <= 0:
		return moveDestroy, "it has no driver that could hear"
	}
	return moveWait, "its driver may yet start"
}

// look looks at a domain.
func (p *Plane) look(end *core.Ending, e *core.Entry) sight {
	s := sight{ended: e.Ended(), listens: listens(e, "poweroff"), paused: e.Paused()}
	until, asked := end.Until(e)
	if s.asked = asked; asked {
		s.left = time.Until(until)
	} else {
		s.left = end.Limit() - time.Duration(e.Host.Clock.Now()-e.Created)
	}
	select {
	case <-end.Hurry():
		s.hurried = true
	default:
	}
	return s
}

// lookAgain is the time between two looks at a domain whose driver may yet start: what
// of it can be seen can't be waited for.
const lookAgain = 200 * time.Millisecond

// stop has a domain power off, or destroys it. It returns early if the control plane
// dies.
func (p *Plane) stop(end *core.Ending, l *endLog, e *core.Entry) {
	told := false
	for {
		s := p.look(end, e)
		m, why := s.next()
		pause := s.left
		switch m {
		case moveDone:
			reason := control.ShutdownReason(e.Reason())
			l.say(control.HostEndStopped, e, "has shut down (%v)", reason)
			if e.TakeEnd() {
				p.emit(control.EventShutdown, e, reason)
			}
			p.remove(e)
			return
		case moveDestroy:
			l.say(control.HostEndDestroyed, e, "is destroyed: %s", why)
			p.remove(e)
			return
		case moveAsk:
			if err := p.askToEnd(end, l, e); err != nil {
				l.say(control.HostEndDestroyed, e, "is destroyed: %v", err)
				p.remove(e)
				return
			}
			if p.core.Pass(p.ctx, "host's end: a domain is asked") != nil {
				return
			}
			continue
		case moveWait:
			if !s.asked {
				pause = min(pause, lookAgain)
				if !told {
					l.say(control.HostEndAsked, e, "does not listen yet: %s, within %v", why, s.left.Round(time.Second))
					told = true
				}
			}
		}
		select {
		case <-e.Done():
		case <-end.Hurry():
		case <-time.After(pause):
		case <-p.ctx.Done():
			return
		}
	}
}

// askToEnd asks a domain to power off. One that is paused gets to run for that.
func (p *Plane) askToEnd(end *core.Ending, l *endLog, e *core.Entry) error {
	if err := p.node(e, "control/shutdown", "poweroff"); err != nil {
		return err
	}
	end.Asked(e, time.Now().Add(end.Limit()))
	if e.Unpause() {
		l.say(control.HostEndAsked, e, "is unpaused and asked to power off")
		p.emit(control.EventUnpaused, e, 0)
	} else {
		l.say(control.HostEndAsked, e, "is asked to power off")
	}
	return nil
}

// remove destroys a domain and waits until it is gone, should somebody else have begun
// to destroy it.
func (p *Plane) remove(e *core.Entry) {
	switch err := p.core.Destroy(e.ID); {
	case errors.Is(err, control.ErrNoDomain):
		select {
		case <-e.Gone():
		case <-p.ctx.Done():
		}
		return
	case err != nil:
		p.log.Printf(console.LevelError, "%v", err)
	}
	p.emit(control.EventDestroyed, e, 0)
}

// describe names a domain in the steps' texts.
func describe(e *core.Entry) string { return fmt.Sprintf("Domain %d (%s)", e.ID, e.Name()) }
