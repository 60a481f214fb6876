package evtchn

import (
	"sync/atomic"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// vcpu is what event channels know of a virtual CPU.
type vcpu struct {
	info  atomic.Pointer[vcpuInfo]
	virqs [xenabi.NrVIRQs]atomic.Uint32 // ports of the per-vcpu VIRQs
	// poll is 0, the one port that SCHEDOP_poll waits for, or pollAny.
	poll atomic.Uint32
}

// vcpuInfo is the place of a struct vcpu_info (xen.h).
type vcpuInfo struct {
	page       mm.Page
	off        int
	registered bool // by the guest, no longer in shared_info
}

const pollAny = ^uint32(0)

// MaxPollPorts is how many ports SCHEDOP_poll takes.
const MaxPollPorts = 128

// placeVCPUInfo puts each vcpu_info in its place in shared_info; vcpus from
// xenabi.LegacyMaxVCPUs on have none until the guest registers one.
func (d *Domain) placeVCPUInfo() {
	for i := range d.vcpus {
		off, ok := d.layout.Load().VCPUInfo(i)
		if !ok || d.cfg.SharedInfo.IsZero() {
			d.vcpus[i].info.Store(nil)
			continue
		}
		d.vcpus[i].info.Store(&vcpuInfo{page: d.cfg.SharedInfo, off: off})
	}
}

// validVCPU tells whether the domain has vcpu v, a guest's number.
func (d *Domain) validVCPU(v uint32) bool { return v < uint32(len(d.vcpus)) }

// SetWidth changes the guest's word size, as when it makes its first hypercall
// in 64-bit mode. Events that are pending by then are lost, as in Xen.
func (d *Domain) SetWidth(w xenabi.Width) error {
	if !w.Valid() {
		return xenabi.EINVAL
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.layout.Store(xenabi.SharedInfoOf(w))
	return nil
}

// Width returns the guest's word size.
func (d *Domain) Width() xenabi.Width { return d.layout.Load().Width }

// RegisterVCPUInfo moves vcpu's vcpu_info to offset off of guest frame g
// (VCPUOP_register_vcpu_info), which it pins, and marks everything pending so
// that no event is lost on the way. It works once for each vcpu. It returns
// ENOENT for an unknown vcpu, ENXIO for a bad offset and EINVAL for a bad frame, as
// Xen 4.17 does.
func (d *Domain) RegisterVCPUInfo(v uint32, g mm.GFN, off uint32) error {
	if !d.validVCPU(v) {
		return xenabi.ENOENT
	}
	if off%8 != 0 || off > mm.PageSize-xenabi.VCPUInfoSize {
		return xenabi.ENXIO
	}
	d.mu.Lock()
	old := d.vcpus[v].info.Load()
	if old != nil && old.registered {
		d.mu.Unlock()
		return xenabi.EINVAL
	}
	pg, err := d.pin(g)
	if err != nil {
		d.mu.Unlock()
		return err
	}
	d.pinned = append(d.pinned, g)
	var b [xenabi.VCPUInfoSize]byte
	if old != nil {
		old.page.Read(old.off, b[:])
	}
	pg.Write(int(off), b[:])
	vi := &vcpuInfo{page: pg, off: int(off), registered: true}
	d.vcpus[v].info.Store(vi)
	l := d.layout.Load()
	for o := 0; o < int(l.Width); o += 4 {
		pg.Or32(vi.off+l.VCPUEvtchnPendingSel+o, ^uint32(0))
	}
	vi.markPending()
	d.mu.Unlock()
	d.notify(int(v), false)
	return nil
}

// VCPUInfo returns where vcpu's vcpu_info is now, for the clock and CR2 in it.
func (d *Domain) VCPUInfo(v int) (pg mm.Page, off int, ok bool) {
	if v < 0 || v >= len(d.vcpus) {
		return mm.Page{}, 0, false
	}
	vi := d.vcpus[v].info.Load()
	if vi == nil {
		return mm.Page{}, 0, false
	}
	return vi.page, vi.off, true
}

// markPending sets evtchn_upcall_pending and tells whether it was clear.
//
//go:nosplit
func (vi *vcpuInfo) markPending() bool {
	return vi.page.Or32(vi.off+xenabi.VCPUEvtchnUpcallPending, 1)&0xff == 0
}

// PendingUpcall tells whether vcpu must be interrupted for its events.
func (d *Domain) PendingUpcall(v int) bool {
	if v < 0 || v >= len(d.vcpus) {
		return false
	}
	vi := d.vcpus[v].info.Load()
	if vi == nil {
		return false
	}
	w := vi.page.Load32(vi.off)
	const maskShift = xenabi.VCPUEvtchnUpcallMask * 8
	return w&0xff != 0 && (!d.cfg.PV || w>>maskShift&0xff == 0)
}

// UnmaskUpcall clears vcpu's upcall mask, as SCHEDOP_block does for PV guests,
// and returns what PendingUpcall says afterwards.
func (d *Domain) UnmaskUpcall(v int) bool {
	if v < 0 || v >= len(d.vcpus) {
		return false
	}
	if vi := d.vcpus[v].info.Load(); vi != nil {
		vi.page.Store8(vi.off+xenabi.VCPUEvtchnUpcallMask, 0)
	}
	return d.PendingUpcall(v)
}

// AnyPending tells whether one of ports is pending, masked or not. It returns
// EINVAL for too many ports or a number that is none.
func (d *Domain) AnyPending(ports []uint32) (bool, error) {
	if len(ports) > MaxPollPorts {
		return false, xenabi.EINVAL
	}
	for _, n := range ports {
		if n == 0 || n > d.limit() {
			return false, xenabi.EINVAL
		}
		if d.isPending(n) {
			return true, nil
		}
	}
	return false, nil
}

// BeginPoll is AnyPending for a vcpu that wants to sleep until one of ports
// becomes pending (SCHEDOP_poll). If none is and there is no error, the vcpu is
// notified when one does, until EndPoll. It must run on vcpu's own goroutine.
func (d *Domain) BeginPoll(v int, ports []uint32) (ready bool, err error) {
	if v < 0 || v >= len(d.vcpus) {
		return false, xenabi.EINVAL
	}
	want := pollAny
	if len(ports) == 1 && ports[0] != 0 { // 0 is refused below
		want = ports[0]
	}
	// Register first, look then: delivery sets the bit first and looks for
	// pollers then, so one of the two sees the other.
	if d.vcpus[v].poll.Swap(want) == 0 {
		d.pollers.Add(1)
	}
	if ready, err = d.AnyPending(ports); ready || err != nil {
		d.EndPoll(v)
	}
	return ready, err
}

// EndPoll ends what BeginPoll began; without that it does nothing.
func (d *Domain) EndPoll(v int) {
	if v >= 0 && v < len(d.vcpus) && d.vcpus[v].poll.Swap(0) != 0 {
		d.pollers.Add(-1)
	}
}

func (d *Domain) notify(v int, device bool) {
	if d.cfg.Notifier != nil {
		d.cfg.Notifier.NotifyVCPU(v, device)
	}
}

// wakePollers notifies the vcpus that wait for port n.
func (d *Domain) wakePollers(n uint32) {
	for i := range d.vcpus {
		if w := d.vcpus[i].poll.Load(); w == n || w == pollAny {
			d.notify(i, false)
		}
	}
}
