package domaintest

import (
	"runtime"
	"testing"
	"time"

	"nidus/kernel/console"
	"nidus/kernel/domain"
	"nidus/kernel/evtchn"
	"nidus/kernel/xenstore"
	"nidus/mm"
	"nidus/personalities/cpuid"
)

// Machine is a machine for domains.
type Machine struct {
	Host    *domain.Host
	Clock   *Clock
	Threads *Threads
	Virt    *Virt
	free    uint64 // frames, before there was a domain
}

func yield() { runtime.Gosched() }

// New makes a machine with n frames of RAM.
func New(tb testing.TB, n int) *Machine {
	tb.Helper()
	m := &Machine{Clock: new(Clock), Virt: new(Virt)}
	m.Threads = newThreads(m.Clock)
	m.Clock.now.Store(1e9)
	hub := new(evtchn.Hub)
	dom0, err := hub.NewDomain(evtchn.Config{ID: 0, VCPUs: 1, Privileged: true})
	if err != nil {
		tb.Fatal(err)
	}
	all := console.Threshold{Always: console.LevelDebug + 1, Limited: console.LevelDebug + 1}
	m.Host = &domain.Host{
		Memory: newRAM(n).pool(), Virt: m.Virt, Hub: hub, Dom0: dom0,
		Store: xenstore.New(xenstore.DefaultQuota), Clock: m.Clock, Thread: m.Threads, LargestPage: 9, TSCReliable: true,
		Log: console.NewLog(console.LogConfig{Size: 64 << 10, Host: all, Guest: all,
			Now: func() time.Duration { return time.Duration(m.Clock.Now()) }}),
	}
	m.free = m.Host.Memory.Stats().Free
	return m
}

// CheckFree fails the test unless everything was given back.
func (m *Machine) CheckFree(tb testing.TB) {
	tb.Helper()
	st := m.Host.Memory.Stats()
	if st.Free != m.free {
		tb.Errorf("%d frames leaked: %v", m.free-st.Free, st.Kinds)
	}
	if v, p := m.Virt.VCPUs.Load(), m.Virt.Maps.Load(); v != 0 || p != 0 {
		tb.Errorf("%d vcpus and %d maps leaked", v, p)
	}
	if n := m.Threads.Places(); n != 0 {
		tb.Errorf("%d threads are vcpus' still, the word of which may be gone", n)
	}
	if n := m.Host.Dom0.PortsInUse(); n != 0 {
		tb.Errorf("%d ports of domain 0 leaked", n)
	}
}

// Options make a domain; zero values are replaced.
type Options struct {
	ID    mm.DomID // 1
	VCPUs int      // 2
	Pages uint64   // RAM from frame 0 on: 256
	Spare uint64   // quota beyond Pages
}

// Params are what domain.New needs, but for MaxPages.
func (m *Machine) Params(tb testing.TB, id mm.DomID, vcpus int) domain.Params {
	tb.Helper()
	p, err := cpuid.New(hostCPUID, cpuid.Config{VCPUs: vcpus, APICIDShift: 1, DomID: uint16(id),
		PhysBits: 40, TSCKHz: m.Clock.TSCKHz(), TSCReliable: true, XenMajor: 4, XenMinor: 17})
	if err != nil {
		tb.Fatal(err)
	}
	return domain.Params{ID: id, UUID: [16]byte{0xde, 0xad, 15: byte(id)}, VCPUs: vcpus, Policy: p, Sched: domain.Sched{Weight: 256}}
}

// Domain makes a domain with RAM, whose vcpus are not started. The test destroys
// it, unless the test has done so, and checks that nothing is left then.
func (m *Machine) Domain(tb testing.TB, o Options) *domain.Domain {
	tb.Helper()
	if o.ID == 0 {
		o.ID = 1
	}
	if o.VCPUs == 0 {
		o.VCPUs = 2
	}
	if o.Pages == 0 {
		o.Pages = 256
	}
	p := m.Params(tb, o.ID, o.VCPUs)
	p.MaxPages = o.Pages + o.Spare
	d, err := domain.New(m.Host, p)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := d.Destroy(); err != nil {
			tb.Error(err)
		}
	})
	if err := d.Space.Populate(0, o.Pages, nil); err != nil {
		tb.Fatal(err)
	}
	d.MaxGFN = mm.GFN(o.Pages)
	return d
}

// hostCPUID is a small AMD processor.
func hostCPUID(leaf, _ uint32) cpuid.Regs {
	switch leaf {
	case 0:
		return cpuid.Regs{A: 0xd, B: 0x68747541, C: 0x444d4163, D: 0x69746e65}
	case 1:
		return cpuid.Regs{A: 0x800f12, B: 0x00080800, C: 0x80202001, D: 0x178bfbff}
	case 7:
		return cpuid.Regs{B: 1 | 1<<7 | 1<<20}
	case 0x80000000:
		return cpuid.Regs{A: 0x80000008}
	case 0x80000001:
		return cpuid.Regs{C: 1, D: 0x2c100800}
	case 0x80000008:
		return cpuid.Regs{A: 0x3028}
	}
	return cpuid.Regs{}
}
