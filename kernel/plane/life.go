package plane

import (
	"context"
	"time"

	"nidus/kernel/console"
	"nidus/kernel/core"
	"nidus/mm"
	"nidus/rpc/control"
)

func mmID(id control.DomID) mm.DomID  { return mm.DomID(id) }
func duration(ns int64) time.Duration { return time.Duration(ns) }

// watch acts on the domain's end, once.
func (p *Plane) watch(e *core.Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watched[e] {
		return
	}
	p.watched[e] = true
	go func() {
		select {
		case <-p.ctx.Done():
		case <-e.Done():
			p.ended(e)
		}
		p.mu.Lock()
		delete(p.watched, e)
		p.mu.Unlock()
	}()
}

// fastRestart is how soon after a restart another end counts as one that will
// happen again: such a domain is kept down, as Xen's tools do.
const fastRestart = 2 * time.Second

// ended does what on_poweroff and its kin say.
func (p *Plane) ended(e *core.Entry) {
	if e.Dying() || !e.TakeEnd() {
		return
	}
	c, now := e.NextConfig(), e.Config()
	reason := control.ShutdownReason(e.Reason())
	p.emit(control.EventShutdown, e, reason)
	action := map[control.ShutdownReason]control.Action{
		control.ShutdownPowerOff: now.OnPoweroff, control.ShutdownReboot: now.OnReboot, control.ShutdownCrash: now.OnCrash,
		control.ShutdownWatchdog: now.OnWatchdog, control.ShutdownSoftReset: now.OnSoftReset, control.ShutdownSuspend: control.ActionPreserve,
	}[reason]
	if p.core.Ending() != nil {
		return // it is destroyed in its turn
	}
	p.log.Printf(console.LevelInfo, "d%d (%s) ended: %v; action: %v", e.ID, c.Name, reason, action)
	restart := false
	switch action {
	case control.ActionRestart, control.ActionRenameRestart, control.ActionCoredumpRestart:
		restart = true
	case control.ActionSoftReset:
		restart = true // what a soft reset keeps, a restart makes anew
	}
	if restart && time.Duration(e.Host.Clock.Now()-e.Created) < fastRestart {
		p.log.Printf(console.LevelError, "d%d (%s) ended within %v of its start: it is not restarted", e.ID, c.Name, fastRestart)
		restart = false
	}
	if action == control.ActionPreserve {
		return
	}
	// Uploaded files stay until the domain that comes has them.
	release, err := p.core.Hold(&c)
	if err != nil {
		p.log.Printf(console.LevelError, "d%d: %v", e.ID, err)
		return
	}
	defer release()
	if action == control.ActionRenameRestart && restart {
		if err := p.core.Rename(e.ID, c.Name+"-"+control.UUID(e.UUID).String()[:8]); err != nil {
			p.log.Printf(console.LevelError, "d%d: %v; it is not restarted", e.ID, err)
			return
		}
	} else if err := p.core.Destroy(e.ID); err != nil {
		p.log.Printf(console.LevelError, "d%d: %v", e.ID, err)
		return
	} else {
		p.emit(control.EventDestroyed, e, reason)
	}
	if !restart {
		return
	}
	if action == control.ActionRenameRestart {
		c.UUID = control.UUID{}
	}
	// The end is taken: were this to be cancelled with the control plane, the next
	// one would not know of the restart.
	id, err := p.core.Create(context.WithoutCancel(p.ctx), c, control.CreateOptions{})
	if err != nil {
		p.log.Printf(console.LevelError, "%s: restart: %v", c.Name, err)
		return
	}
	if e, err := p.core.Domain(id); err == nil {
		p.core.Watch(e)
		p.emit(control.EventCreated, e, 0)
	}
}
