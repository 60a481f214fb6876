package ahci

import (
	"errors"
	"fmt"
	"math/bits"
	"time"

	"nidus/drivers/block"
)

// keeper is the goroutine that looks after a port: it alone mends the port or gives it up.
// Interrupts only tell it.
type keeper struct {
	wake   chan struct{} // there is trouble
	stop   chan struct{}
	done   chan struct{}
	result error // of the end

	resets int
	last   uint64 // tick of the last reset
	said   bool   // that the disk does not tell what failed
}

const (
	// mostResets is how often in a minute's ticks a disk that does not answer is reset
	// before it is given up.
	mostResets = 3
	minute     = 60
	// mostTries is how often a command is done whose data the line spoils, or that was in
	// flight when the disk had to be reset.
	mostTries = 3
)

// trouble is why a port is paused.
type trouble struct {
	is     uint32 // PxIS
	task   uint32 // PxTFD
	late   uint32 // slots whose command has not ended in time
	broken error  // the controller is of no use
}

// pause keeps commands from the disk until the keeper was there. Preconditions: mu.
func (p *port) pause(t trouble) {
	if p.state == working {
		p.state = paused
		p.store(pxIE, 0)
		p.trouble = trouble{}
	}
	p.trouble.is |= t.is
	p.trouble.late |= t.late
	p.trouble.task = t.task
	if t.broken != nil {
		p.trouble.broken = t.broken
	}
	select {
	case p.keeper.wake <- struct{}{}:
	default: // it will look
	}
}

// keep is the keeper's goroutine.
func (p *port) keep() {
	k := &p.keeper
	defer close(k.done)
	ticker := time.NewTicker(p.hba.limits.tick)
	defer ticker.Stop()
	for {
		select {
		case <-k.stop:
			p.writeCache()
			k.result = p.end()
			return
		case <-ticker.C:
			p.watch()
			continue
		case <-k.wake:
		}
		if err := p.mend(); err != nil {
			p.hba.log("%s: %v; the disk is not used any more", p.name, err)
			if k.result = p.end(); k.result != nil {
				p.hba.log("%s: %v", p.name, k.result)
			}
			return
		}
	}
}

// close ends the keeper, and the port and maybe the controller with it.
func (p *port) close() error {
	close(p.keeper.stop)
	<-p.keeper.done
	return errors.Join(p.keeper.result, p.hba.closed())
}

// writeCache has the disk write what it has not written. That it does not is no reason to
// go on.
func (p *port) writeCache() {
	p.mu.Lock()
	works := p.state == working
	p.state = paused
	p.store(pxIE, 0)
	p.mu.Unlock()
	if !works || !p.disk.info.CanFlush {
		return
	}
	if _, err := p.exec(fis{command: ataFlush, device: deviceLBA}, false); err != nil {
		p.hba.log("%s: writing the disk's cache: %v", p.name, err)
	}
}

// watch sees whether the disk is there and ends its commands.
func (p *port) watch() {
	now := p.ticks.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != working {
		return
	}
	var late uint32
	for m := p.busy; m != 0; m &= m - 1 {
		if i := bits.TrailingZeros32(m); now-p.flying[i].since > p.hba.limits.command {
			late |= 1 << i
		}
	}
	if late != 0 || p.load(pxSSTS)&sstsDET != detUp {
		p.pause(trouble{late: late})
	}
}

// mend finds out what is wrong and has the disk work again (section 6.2.2). What the disk
// does not say to be bad is done once more. The error says why it is given up.
func (p *port) mend() error {
	p.mu.Lock()
	t, paused := p.trouble, p.state == paused
	p.mu.Unlock()
	switch {
	case !paused:
		return nil
	case t.broken != nil:
		return t.broken
	case p.hba.gone():
		return errGone
	}
	stopped := p.halt()
	if t.is&(isFatal|isConnect) == 0 && t.late == 0 && t.is&isTask != 0 {
		if stopped && p.load(pxTFD)&(tfdBusy|tfdDRQ) == 0 && p.load(pxSSTS)&sstsDET == detUp {
			p.run()
			if slot, s, err := p.culprit(t); err == nil {
				p.fail(1<<slot, s)
				p.work()
				return nil
			}
		} else if !p.queued {
			p.fail(p.busy, statusOf(t.task))
		}
		if !p.keeper.said {
			p.keeper.said = true
			p.hba.log("%s: the disk reports an error and not of which command; those that it had are done one by one", p.name)
		}
		return p.reset(0, "")
	}
	why := "the line fails"
	if t.late != 0 {
		why = fmt.Sprintf("a command has not ended after %v", time.Duration(p.hba.limits.command)*p.hba.limits.tick)
	}
	now, k := p.ticks.Load(), &p.keeper
	if k.resets++; now-k.last > minute {
		k.resets = 1
	}
	if k.last = now; k.resets > mostResets {
		return fmt.Errorf("%s, for the %dth time in a row", why, k.resets)
	}
	return p.reset(t.late, why)
}

// halt has the port take no commands, and tells whether it does so in time.
func (p *port) halt() bool {
	p.store(pxCMD, p.load(pxCMD)&^cmdStart)
	return until(p.hba.limits.stop, func() bool { return p.load(pxCMD)&cmdRuns == 0 })
}

// culprit finds the slot of the command that failed, and how. Preconditions: the port runs.
func (p *port) culprit(t trouble) (slot uint8, s Status, err error) {
	if !p.queued {
		if p.busy == 0 {
			return 0, Status{}, fmt.Errorf("an error of no command: %w", ErrUnusable)
		}
		return uint8(bits.TrailingZeros32(p.busy)), statusOf(t.task), nil
	}
	// The disk has given up all queued commands, and does none until this was read
	// (ACS-3, section 9.12).
	page, err := p.exec(fis{command: ataReadLog, lba: logQueuedError, device: deviceLBA, count: 1}, true)
	if err != nil {
		return 0, Status{}, err
	}
	tag := page.Load8(atBuffer)
	if slot = tag & 0x1f; tag>>7 != 0 || p.busy>>slot&1 == 0 {
		return 0, Status{}, fmt.Errorf("an error of command %#x, which is not in flight: %w", tag, ErrUnusable)
	}
	return slot, Status{page.Load8(atBuffer + 2), page.Load8(atBuffer + 3)}, nil
}

// fail ends commands with what the disk said; those that the line spoiled may try again.
func (p *port) fail(slots uint32, s Status) {
	if p.drive == nil && s.Register&(errInterface|errMedium) == errInterface {
		p.retry(slots, s)
		return
	}
	var b batch
	p.mu.Lock()
	for m := slots & p.busy; m != 0; m &= m - 1 {
		var err error = s
		i := bits.TrailingZeros32(m)
		if p.drive != nil {
			p.failPacket(uint8(i), s, &b)
			continue
		}
		if s.Register&errAbort != 0 && !p.flying[i].moves() {
			err = block.ErrUnsupported // a flush or a discard
		}
		p.finish(1<<i, err, &b)
	}
	p.mu.Unlock()
	b.tell(p.disk)
}

// retry ends those of some commands that were tried too often.
func (p *port) retry(slots uint32, err error) {
	var b batch
	p.mu.Lock()
	for m := slots & p.busy; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m)
		if p.flying[i].tries++; p.flying[i].tries >= mostTries {
			p.finish(1<<i, err, &b)
		}
	}
	p.mu.Unlock()
	b.tell(p.disk)
}

// reset has the disk begin anew (section 10.4.2). What it had in flight is done once more,
// one by one, but what was late gets ErrTimeout. The log says why, if that is not "".
func (p *port) reset(late uint32, why string) error {
	p.halt() // a port that doesn't stop may do so now
	p.store(pxSCTL, sctlNoSleep|sctlReset)
	time.Sleep(time.Millisecond) // at least
	p.store(pxSCTL, sctlNoSleep)
	if !until(p.hba.limits.back, func() bool { return p.load(pxSSTS)&sstsDET != 0 }) {
		return errors.New("the disk is not there any more")
	}
	if err := p.ready(); err != nil {
		return err
	}
	if p.load(pxCMD)&cmdRuns != 0 {
		return fmt.Errorf("the port does not stop: %w", ErrTimeout)
	}
	p.run()
	id, err := p.identify(p.disk.id.command)
	if was := p.disk.id; err != nil {
		return err
	} else if id.model != was.model || id.serial != was.serial || id.sectors != was.sectors || id.unit != was.unit {
		return fmt.Errorf("it is another disk now, %s %s instead of %s %s", id.model, id.serial, was.model, was.serial)
	}
	if why != "" {
		p.hba.log("%s: %s; the disk was reset", p.name, why)
	}
	var b batch
	p.mu.Lock()
	p.finish(late&p.busy, ErrTimeout, &b)
	p.mu.Unlock()
	b.tell(p.disk)
	p.retry(p.busy, ErrTimeout)
	p.mu.Lock()
	p.suspect()
	p.mu.Unlock()
	p.work()
	return nil
}

// suspect has what is in flight start once more, one by one. Preconditions: mu, and the
// disk has none of it any more.
func (p *port) suspect() {
	all := p.busy | p.sharing
	p.suspects |= p.busy
	p.busy, p.sharing = 0, 0
	var first []uint8
	for ; all != 0; all &= all - 1 {
		first = append(first, uint8(bits.TrailingZeros32(all)))
	}
	p.waiting = append(first, p.waiting...)
}
