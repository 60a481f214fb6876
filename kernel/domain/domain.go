package domain

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"nidus/kernel/console"
	"nidus/kernel/evtchn"
	"nidus/kernel/gnttab"
	"nidus/kernel/pvclock"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/cpuid"
	"nidus/personalities/devices/lapic"
)

// Params make a domain.
type Params struct {
	ID        mm.DomID
	UUID      [16]byte
	MaxPages  uint64 // quota of memory, in frames
	VCPUs     int    // that the domain can have
	MaxPorts  uint32 // quota of event channels; 0 is the default
	MaxGrants int    // quota of grant frames; 0 is the default
	// MaxMaptrack is the quota of frames that record the grants that the domain maps; 0
	// is the default.
	MaxMaptrack int
	// MaxGrantVersion is the highest version of the grant table: 1 or 2; 0: 2.
	MaxGrantVersion int
	Sched           Sched
	// Affinity holds hard and soft sets by vcpu; beyond its end, Sched's.
	Affinity []Sched
	Policy   *cpuid.Policy
	Constant virt.Constant // the hypercall that needs no exit, if there is one
	// PV makes a PV domain, whose code is of that width; 0 is another.
	PV xenabi.Width
}

// Domain is one domain. What it holds of the machine is given back by Destroy.
type Domain struct {
	Host   *Host
	ID     mm.DomID
	UUID   [16]byte
	Space  *mm.Space
	Events *evtchn.Domain
	Grants *gnttab.Table
	Policy *cpuid.Policy
	VCPUs  []*VCPU
	APICs  *lapic.Bus
	Maps   virt.Maps
	PV     *PV // of a PV domain, else nil

	// Console is the guest's output and whoever reads it; Emergency is the
	// line-buffered console_io.
	Console   *console.History
	Emergency *console.Emergency

	// MemoryMap is XENMEM_memory_map's answer, entry by entry as the ABI has
	// them; MaxGFN is one beyond the highest frame of RAM.
	MemoryMap [][20]byte
	MaxGFN    mm.GFN

	Created int64 // ns since boot

	shared   special // shared_info
	params   [xenabi.HVMNrParams]atomic.Uint64
	callback atomic.Uint32 // vector of HVM_PARAM_CALLBACK_IRQ; 0: none
	scale    pvclock.Scale
	tscBase  uint64 // host's TSC when the guest's was 0
	emulated virt.EmulatedTSC

	pv backends
	// devices end the backends of devices; see OnDestroy.
	devices []func()

	mu        sync.Mutex
	paused    atomic.Bool
	state     atomic.Uint32 // a State
	reason    atomic.Uint32 // of the shutdown
	latched   atomic.Uint32 // LatchReason's, plus 1
	ended     chan struct{} // closed at shutdown
	gone      chan struct{} // closed when destroyed
	vcpus     sync.WaitGroup
	watchdogs watchdogs
	specials  map[mm.MFN]special
	failure   string // why the domain crashed, for people
}

// special is a frame that the hypervisor shares with the guest.
type special struct {
	mfn  mm.MFN
	page mm.Page
	told bool // a PV guest knows its number, and may map it
}

// State is where a domain is in its life.
type State uint32

// The states.
const (
	Building State = iota
	Alive          // running, blocked or paused
	Ended          // shut down: it keeps its memory until Destroy
	Dying
)

// historySize is how much of a guest's output is kept, in bytes.
const historySize = 64 << 10

// New makes a domain without memory, and its vcpus, which don't run yet.
func New(h *Host, p Params) (*Domain, error) {
	d := &Domain{
		Host: h, ID: p.ID, UUID: p.UUID, Policy: p.Policy,
		tscBase: h.Clock.TSC(), Created: h.Clock.Now(),
		ended: make(chan struct{}), gone: make(chan struct{}), specials: map[mm.MFN]special{},
	}
	d.emulated.Start = d.Created
	if err := d.build(p); err != nil {
		return nil, fmt.Errorf("domain %d: %w", d.ID, d.also(err, d.free()))
	}
	return d, nil
}

// also keeps the first of two errors, and tells of the second.
func (d *Domain) also(err, more error) error {
	if more != nil {
		return fmt.Errorf("%w (and then: %v)", err, more)
	}
	return err
}

func (d *Domain) build(p Params) (err error) {
	h := d.Host
	if d.scale, err = pvclock.NewScale(p.Policy.Config.TSCKHz); err != nil {
		return err
	}
	d.Console = console.NewHistory(historySize, nil)
	d.Emergency = console.NewEmergency(d.Console, "")
	space := mm.SpaceConfig{
		Owner: p.ID, Memory: h.Memory, Flusher: d, Format: h.Format(), MaxOrder: h.LargestPage,
		MaxTables: mm.TableQuota(p.MaxPages), MaxPages: p.MaxPages,
	}
	machine := h.Virt
	if p.PV != 0 {
		if machine, err = d.beginPV(&space); err != nil {
			return err
		}
	}
	if d.Space, err = mm.NewSpace(space); err != nil {
		return err
	}
	if d.shared, err = d.allocSpecial(); err != nil {
		return err
	}
	if d.Grants, err = gnttab.New(gnttab.Config{
		ID: p.ID, MaxFrames: p.MaxGrants, MaxMaptrack: p.MaxMaptrack, MaxVersion: p.MaxGrantVersion,
		Frames: d, FrameNumber: d.grantFrame, Space: d.Space, Tables: &h.Grants,
	}); err != nil {
		return err
	}
	if d.Events, err = h.Hub.NewDomain(evtchn.Config{
		ID: p.ID, VCPUs: p.VCPUs, MaxPorts: p.MaxPorts, SharedInfo: d.shared.page, Memory: d.Space, Notifier: d, PV: p.PV != 0,
		Width: p.PV,
	}); err != nil {
		return err
	}
	if d.Maps, err = machine.NewMaps(); err != nil {
		return err
	}
	if p.PV != 0 {
		d.buildPV(p.PV)
	}
	configs := make([]lapic.Config, p.VCPUs)
	for i := range configs {
		configs[i] = lapic.Config{ID: p.Policy.APICID(uint32(i)), BSP: i == 0, Clock: d}
	}
	if d.APICs, err = lapic.NewBus(d, configs); err != nil {
		return err
	}
	for i := range p.VCPUs {
		s := p.Sched
		if i < len(p.Affinity) {
			s.Hard, s.Soft = p.Affinity[i].Hard, p.Affinity[i].Soft
		}
		v, err := newVCPU(d, machine, i, s, p.Constant)
		if err != nil {
			return err
		}
		d.VCPUs = append(d.VCPUs, v)
	}
	sec, nsec := pvclock.BootTime(uint64(h.Clock.Wall()), uint64(h.Clock.Now()))
	layout := pvclock.Shared64
	if p.PV == xenabi.Guest32 {
		layout = pvclock.Shared32
	}
	pvclock.UpdateWallclock(d.shared.page, layout, sec, nsec)
	return nil
}

// UUIDString is the UUID in its usual form.
func (d *Domain) UUIDString() string {
	u := d.UUID
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// State tells where the domain is in its life.
func (d *Domain) State() State { return State(d.state.Load()) }

// Reason is the reason of the shutdown (sched.h, SHUTDOWN_*), once Ended.
func (d *Domain) Reason() uint32 { return d.reason.Load() }

// Failure says for people why a domain crashed.
func (d *Domain) Failure() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failure
}

// Done is closed when the domain has shut down.
func (d *Domain) Done() <-chan struct{} { return d.ended }

// Start starts the vcpus' goroutines: each runs run until the domain is
// destroyed. The domain begins paused if paused is set. It is called once, and
// not after Destroy began: who may destroy the domain must not see it before.
func (d *Domain) Start(paused bool, run func(*VCPU)) {
	d.paused.Store(paused)
	if !d.state.CompareAndSwap(uint32(Building), uint32(Alive)) {
		return // destroyed, or shut down, before it began
	}
	for _, v := range d.VCPUs {
		d.vcpus.Go(func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with it
			v.thread.Store(d.Host.Thread.Enter(v.Sched(), word(&v.place)))
			defer d.Host.Thread.Leave()
			defer v.thread.Store(0)
			defer d.contain(v)
			run(v)
		})
	}
}

// Pause takes the vcpus out of their guest and keeps them out until Unpause; one
// Unpause ends any number of Pauses.
// It returns false if the domain was paused already.
func (d *Domain) Pause() bool {
	changed := !d.paused.Swap(true)
	d.notifyAll()
	for _, v := range d.VCPUs {
		for v.busy.Load() && d.paused.Load() && v.thread.Load() != d.Host.Thread.Self() {
			runtime.Gosched()
		}
	}
	return changed
}

// Unpause ends Pause. It returns false if the domain was not paused.
func (d *Domain) Unpause() bool {
	changed := d.paused.Swap(false)
	d.notifyAll()
	return changed
}

// Paused tells whether Pause is in force.
func (d *Domain) Paused() bool { return d.paused.Load() }

// Shutdown stops the domain for a reason (sched.h). Only the first one counts.
func (d *Domain) Shutdown(reason uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.State() >= Ended {
		return
	}
	d.end(reason, Ended)
}

// end makes the domain Ended or Dying, and says so. d.mu is held.
func (d *Domain) end(reason uint32, s State) {
	if l := d.latched.Load(); l != 0 {
		reason = l - 1
	}
	d.reason.Store(reason)
	d.state.Store(uint32(s))
	close(d.ended)
	d.notifyAll()
	d.Host.Store.DomainShutdown(d.ID)
}

// Crash ends the domain because of something that it did; why is for the log.
func (d *Domain) Crash(v *VCPU, why string) {
	d.mu.Lock()
	first := d.failure == "" && d.State() < Ended
	if first {
		d.failure = why
	}
	d.mu.Unlock()
	if first {
		d.Host.Log.Printf(console.LevelError, "d%dv%d crashed: %s", d.ID, v.ID, why)
		d.logState(v)
	}
	d.Shutdown(xenabi.ShutdownCrash)
}

func (d *Domain) notifyAll() {
	for _, v := range d.VCPUs {
		v.Notify()
	}
}

// Destroy ends the domain and gives everything back. It waits for the vcpus to
// leave, which takes as long as an interrupt.
func (d *Domain) Destroy() error {
	d.mu.Lock()
	switch d.State() {
	case Dying:
		d.mu.Unlock()
		return nil
	case Ended:
		d.state.Store(uint32(Dying))
	default: // who waits for Done finds it dying, not crashed
		d.end(xenabi.ShutdownCrash, Dying)
	}
	d.mu.Unlock()
	d.notifyAll()
	d.vcpus.Wait()
	defer close(d.gone)
	if err := d.free(); err != nil {
		return fmt.Errorf("domain %d: %w", d.ID, err)
	}
	return nil
}

// OnDestroy makes Destroy call fn once the vcpus have left, while memory, grants, event
// channels and nodes are still there: for a backend that uses them. It is not called
// after Destroy began. Functions run in reverse order.
func (d *Domain) OnDestroy(fn func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.devices = append(d.devices, fn)
}

// releaseBatch is how many pages are freed between two looks at who else wants
// to run.
const releaseBatch = 512

// free gives back what the domain has, also of a half-built one.
func (d *Domain) free() error {
	d.watchdogs.stop()
	for _, fn := range slices.Backward(d.devices) {
		fn()
	}
	d.devices = nil
	d.pv.close(d)
	if d.Events != nil {
		d.Events.Destroy()
	}
	if d.Grants != nil {
		d.Grants.Destroy()
	}
	for _, v := range d.VCPUs {
		v.unpin()
	}
	if d.PV != nil {
		d.PV.release(d)
	}
	if len(d.VCPUs) > 0 {
		d.Host.Thread.Forget(d.VCPUs[0].Sched().Group)
	}
	for done := d.Space == nil; !done; runtime.Gosched() {
		var err error
		if done, err = d.Space.Release(releaseBatch); err != nil {
			return fmt.Errorf("its memory: %w", err)
		}
	}
	for _, v := range d.VCPUs { // not before: releasing memory flushes them
		v.HV.Close()
	}
	if d.Maps != nil {
		d.Maps.Free()
	}
	if d.PV != nil {
		d.Host.PV.leave()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for m := range d.specials {
		if s := d.Host.Memory.FreeFrames(m, 0); s != mm.FrameOK {
			return fmt.Errorf("shared frame %#x: %v", m, s)
		}
		delete(d.specials, m)
	}
	return nil
}

// FlushGuest implements mm.Flusher.
func (d *Domain) FlushGuest(*mm.P2M) {
	for _, v := range d.VCPUs {
		v.HV.RequestFlush()
	}
	for _, v := range d.VCPUs {
		for v.HV.FlushPending() {
			runtime.Gosched()
		}
	}
}

// NotifyVCPU implements evtchn.Notifier.
func (d *Domain) NotifyVCPU(v int, device bool) {
	d.VCPUs[v].upcall.Store(true)
	if device {
		d.VCPUs[v].notify(virt.VCPU.KickSoon)
	} else {
		d.VCPUs[v].Notify()
	}
}

// Fail is Crash with another reason than a crash: what the guest did ends it, as
// it would a machine.
func (d *Domain) Fail(v *VCPU, why string, reason uint32) {
	if d.State() < Ended {
		d.mu.Lock()
		d.failure = why
		d.mu.Unlock()
		d.Host.Log.Printf(console.LevelError, "d%dv%d: %s", d.ID, v.ID, why)
		d.logState(v)
	}
	d.Shutdown(reason)
}

// logState writes a vcpu's registers to the log, line by line.
func (d *Domain) logState(v *VCPU) {
	for line := range strings.Lines(v.HV.Dump()) {
		d.Host.Log.Printf(console.LevelError, "d%dv%d: %s", d.ID, v.ID, strings.TrimRight(line, "\n"))
	}
}

// Ended tells whether the guest has shut down.
func (d *Domain) Ended() bool { return d.State() >= Ended }

// Dying tells whether Destroy was called.
func (d *Domain) Dying() bool { return d.State() == Dying }

// Gone is closed when Destroy is done.
func (d *Domain) Gone() <-chan struct{} { return d.gone }

// contain ends the domain, not the host, for a defect of ours that its vcpu met.
func (d *Domain) contain(v *VCPU) {
	if p := recover(); p != nil {
		v.busy.Store(false)
		d.Host.Log.Printf(console.LevelError, "d%dv%d: the hypervisor has a defect: %v\n%s", d.ID, v.ID, p, debug.Stack())
		d.Shutdown(xenabi.ShutdownCrash)
	}
}
