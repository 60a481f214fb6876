package hypercall

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"nidus/kernel/domain"
	"nidus/kernel/domain/domaintest"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// Addresses of the guest under test, in 64-bit mode.
const (
	argAt      = 0x10000 // two pages of ordinary memory
	dataAt     = 0x20000 // some more
	readOnlyAt = 0x12000
	absentAt   = 0x13000 // not mapped
	nowhereAt  = 0x14000 // mapped to where no memory is
	crossAt    = absentAt - 2
	badCanon   = 0x8000_0000_0000
)

// guest is a vcpu that makes hypercalls.
type guest struct {
	testing.TB
	m    *domaintest.Machine
	d    *domain.Domain
	v    *domain.VCPU
	bits int
	last Outcome
}

func newGuest(tb testing.TB, bits int) *guest {
	m := domaintest.New(tb, 1024)
	tb.Cleanup(func() { m.CheckFree(tb) }) // after the domain's own
	d := m.Domain(tb, domaintest.Options{VCPUs: 3, Spare: 32})
	g := &guest{TB: tb, m: m, d: d, v: d.VCPUs[0], bits: bits}
	g.v.SetUp(true)
	if bits == 64 {
		domaintest.Long(tb, g.v)
		domaintest.SetPTE(tb, g.v, readOnlyAt>>12, readOnlyAt|domaintest.PTEPresent)
		domaintest.SetPTE(tb, g.v, absentAt>>12, 0)
		domaintest.SetPTE(tb, g.v, nowhereAt>>12, 0x50000000|domaintest.PTEPresent|domaintest.PTEWrite)
	} else {
		domaintest.Protected(g.v)
	}
	LatchWidth(g.v)
	return g
}

// both runs a test as a guest of each width.
func both(t *testing.T, f func(t *testing.T, g *guest)) {
	t.Run("64", func(t *testing.T) { f(t, newGuest(t, 64)) })
	t.Run("32", func(t *testing.T) { f(t, newGuest(t, 32)) })
}

func (g *guest) w() xenabi.Width { return xenabi.Width(g.bits / 8) }

// once executes the instruction once.
func (g *guest) once(nr uint64, args ...uint64) {
	var a [6]uint64
	copy(a[:], args)
	r := g.v.HV.Regs()
	r.RAX = nr
	if g.bits == 64 {
		r.RDI, r.RSI, r.RDX, r.R10, r.R8, r.R9 = a[0], a[1], a[2], a[3], a[4], a[5]
	} else {
		r.RBX, r.RCX, r.RDX, r.RSI, r.RDI, r.RBP = a[0], a[1], a[2], a[3], a[4], a[5]
	}
	g.last = g.handle()
}

// handle executes the instruction of a guest of its kind.
func (g *guest) handle() Outcome {
	if g.v.PV == nil {
		return Handle(g.v)
	}
	r := g.v.HV.Regs()
	at := r.RIP
	r.RIP += trapLen
	o := HandlePV(g.v)
	if o.Kind == Repeat && r.RIP != at {
		g.Errorf("a call to be repeated leaves RIP at %#x, not %#x", r.RIP, at)
	}
	return o
}

func (g *guest) rax() int64 {
	rax := g.v.HV.Regs().RAX
	if g.bits == 64 {
		return int64(rax)
	}
	if rax>>32 != 0 {
		g.Errorf("RAX is %#x in 32-bit mode", rax)
	}
	return int64(int32(rax))
}

// call makes a hypercall until it is done.
func (g *guest) call(nr uint64, args ...uint64) int64 {
	g.Helper()
	g.once(nr, args...)
	for n := 0; g.last.Kind == Repeat; n++ {
		if n == 10000 {
			g.Fatalf("hypercall %d %#x does not come to an end", nr, args)
		}
		if rax := g.v.HV.Regs().RAX; rax != nr {
			g.Fatalf("hypercall %d to be repeated became %d", nr, rax)
		}
		g.last = g.handle()
	}
	return g.rax()
}

// want makes a hypercall and checks its result; an Errno stands for its negative.
func (g *guest) want(res any, nr uint64, args ...uint64) {
	g.Helper()
	var w int64
	switch r := res.(type) {
	case int:
		w = int64(r)
	case xenabi.Errno:
		w = -int64(r)
	}
	if got := g.call(nr, args...); got != w {
		g.Errorf("hypercall %d %#x = %d, want %v", nr, args, got, res)
	}
}

func (g *guest) put(a mm.GuestVirt, b []byte) {
	g.Helper()
	if err := g.v.CopyOut(a, b); err != nil {
		g.Fatal(err)
	}
}

func (g *guest) get(a mm.GuestVirt, n int) []byte {
	g.Helper()
	b := make([]byte, n)
	if err := g.v.CopyIn(a, b); err != nil {
		g.Fatal(err)
	}
	return b
}

func (g *guest) put32(a mm.GuestVirt, vs ...uint32) {
	g.Helper()
	var b []byte
	for _, v := range vs {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	g.put(a, b)
}

func (g *guest) get32(a mm.GuestVirt) uint32 { return binary.LittleEndian.Uint32(g.get(a, 4)) }

// words puts words of the guest's width.
func (g *guest) words(a mm.GuestVirt, vs ...uint64) {
	g.Helper()
	for i, v := range vs {
		b := binary.LittleEndian.AppendUint64(nil, v)
		g.put(a+mm.GuestVirt(i*int(g.w())), b[:g.w()])
	}
}

// arg puts a structure at argAt.
func (g *guest) arg(s xenabi.Struct) uint64 {
	g.Helper()
	b := make([]byte, xenabi.Size(g.w(), s))
	xenabi.Encode(g.w(), b, s)
	g.put(argAt, b)
	return argAt
}

// result reads one back.
func (g *guest) result(s xenabi.Struct) {
	g.Helper()
	xenabi.Decode(g.w(), g.get(argAt, xenabi.Size(g.w(), s)), s)
}

func TestBadAddresses(t *testing.T) {
	bad := []uint64{0, ^uint64(0), ^uint64(0) - 1, badCanon, badCanon - 2, absentAt, nowhereAt, crossAt, nowhereAt - 2}
	for _, x := range []struct {
		name string // with *: an argument so small that it doesn't cross at crossAt
		nr   uint64
		cmd  uint64
		at   int // which argument is the address
		out  bool
		mid  uint64
	}{
		{"extraversion", xenabi.HypercallXenVersion, xenabi.XenVerExtraversion, 1, true, 0},
		{"compile info", xenabi.HypercallXenVersion, xenabi.XenVerCompileInfo, 1, true, 0},
		{"capabilities", xenabi.HypercallXenVersion, xenabi.XenVerCapabilities, 1, true, 0},
		{"changeset", xenabi.HypercallXenVersion, xenabi.XenVerChangeset, 1, true, 0},
		{"platform", xenabi.HypercallXenVersion, xenabi.XenVerPlatformParameters, 1, true, 0},
		{"features", xenabi.HypercallXenVersion, xenabi.XenVerGetFeatures, 1, false, 0},
		{"guest handle", xenabi.HypercallXenVersion, xenabi.XenVerGuestHandle, 1, true, 0},
		{"command line", xenabi.HypercallXenVersion, xenabi.XenVerCommandline, 1, true, 0},
		{"current_reservation*", xenabi.HypercallMemoryOp, xenabi.XenMemCurrentReservation, 1, false, 0},
		{"maximum_gpfn*", xenabi.HypercallMemoryOp, xenabi.XenMemMaximumGPFN, 1, false, 0},
		{"add_to_physmap", xenabi.HypercallMemoryOp, xenabi.XenMemAddToPhysmap, 1, false, 0},
		{"add_to_physmap_batch", xenabi.HypercallMemoryOp, xenabi.XenMemAddToPhysmapBatch, 1, false, 0},
		{"remove_from_physmap", xenabi.HypercallMemoryOp, xenabi.XenMemRemoveFromPhysmap, 1, false, 0},
		{"memory_map", xenabi.HypercallMemoryOp, xenabi.XenMemMemoryMap, 1, false, 0},
		{"send", xenabi.HypercallEventChannelOp, xenabi.EvtchnOpSend, 1, false, 0},
		{"alloc_unbound", xenabi.HypercallEventChannelOp, xenabi.EvtchnOpAllocUnbound, 1, false, 0},
		{"status", xenabi.HypercallEventChannelOp, xenabi.EvtchnOpStatus, 1, false, 0},
		{"bind_interdomain", xenabi.HypercallEventChannelOp, xenabi.EvtchnOpBindInterdomain, 1, false, 0},
		{"bind_virq", xenabi.HypercallEventChannelOp, xenabi.EvtchnOpBindVIRQ, 1, false, 0},
		{"bind_ipi", xenabi.HypercallEventChannelOp, xenabi.EvtchnOpBindIPI, 1, false, 0},
		{"bind_vcpu", xenabi.HypercallEventChannelOp, xenabi.EvtchnOpBindVCPU, 1, false, 0},
		{"close", xenabi.HypercallEventChannelOp, xenabi.EvtchnOpClose, 1, false, 0},
		{"unmask", xenabi.HypercallEventChannelOp, xenabi.EvtchnOpUnmask, 1, false, 0},
		{"reset*", xenabi.HypercallEventChannelOp, xenabi.EvtchnOpReset, 1, false, 0},
		{"init_control", xenabi.HypercallEventChannelOp, xenabi.EvtchnOpInitControl, 1, false, 0},
		{"expand_array", xenabi.HypercallEventChannelOp, xenabi.EvtchnOpExpandArray, 1, false, 0},
		{"set_priority", xenabi.HypercallEventChannelOp, xenabi.EvtchnOpSetPriority, 1, false, 0},
		{"query_size", xenabi.HypercallGrantTableOp, xenabi.GnttabOpQuerySize, 1, true, 1},
		{"set_version", xenabi.HypercallGrantTableOp, xenabi.GnttabOpSetVersion, 1, false, 1},
		{"get_version", xenabi.HypercallGrantTableOp, xenabi.GnttabOpGetVersion, 1, false, 1},
		{"get_status_frames", xenabi.HypercallGrantTableOp, xenabi.GnttabOpGetStatusFrames, 1, false, 1},
		{"map_grant_ref", xenabi.HypercallGrantTableOp, xenabi.GnttabOpMapGrantRef, 1, false, 2},
		{"unmap_grant_ref", xenabi.HypercallGrantTableOp, xenabi.GnttabOpUnmapGrantRef, 1, false, 2},
		{"unmap_and_replace", xenabi.HypercallGrantTableOp, xenabi.GnttabOpUnmapAndReplace, 1, false, 2},
		{"transfer", xenabi.HypercallGrantTableOp, xenabi.GnttabOpTransfer, 1, false, 2},
		{"copy", xenabi.HypercallGrantTableOp, xenabi.GnttabOpCopy, 1, false, 0x7fffffff},
		{"swap", xenabi.HypercallGrantTableOp, xenabi.GnttabOpSwapGrantRef, 1, false, 0x7fffffff},
		{"cache_flush", xenabi.HypercallGrantTableOp, xenabi.GnttabOpCacheFlush, 1, false, 2},
		{"multicall", xenabi.HypercallMulticall, 0, 0, false, 0x7fffffff},
		{"maximum_reservation*", xenabi.HypercallMemoryOp, xenabi.XenMemMaximumReservation, 1, false, 0},
		{"setup_table", xenabi.HypercallGrantTableOp, xenabi.GnttabOpSetupTable, 1, true, 1},
		{"set_param", xenabi.HypercallHVMOp, xenabi.HVMOpSetParam, 1, false, 0},
		{"get_param", xenabi.HypercallHVMOp, xenabi.HVMOpGetParam, 1, true, 0},
		{"upcall vector", xenabi.HypercallHVMOp, xenabi.HVMOpSetEvtchnUpcallVector, 1, false, 0},
		{"get_time", xenabi.HypercallHVMOp, xenabi.HVMOpGetTime, 1, true, 0},
		{"get_mem_type", xenabi.HypercallHVMOp, xenabi.HVMOpGetMemType, 1, true, 0},
		{"initialise", xenabi.HypercallVCPUOp, xenabi.VCPUOpInitialise, 2, false, 1},
		{"runstate info", xenabi.HypercallVCPUOp, xenabi.VCPUOpGetRunstateInfo, 2, true, 0},
		{"runstate area", xenabi.HypercallVCPUOp, xenabi.VCPUOpRegisterRunstateMemoryArea, 2, false, 0},
		{"time area", xenabi.HypercallVCPUOp, xenabi.VCPUOpRegisterVCPUTimeMemoryArea, 2, false, 0},
		{"periodic", xenabi.HypercallVCPUOp, xenabi.VCPUOpSetPeriodicTimer, 2, false, 0},
		{"single-shot", xenabi.HypercallVCPUOp, xenabi.VCPUOpSetSingleshotTimer, 2, false, 0},
		{"vcpu_info", xenabi.HypercallVCPUOp, xenabi.VCPUOpRegisterVCPUInfo, 2, false, 0},
		{"shutdown", xenabi.HypercallSchedOp, xenabi.SchedOpShutdown, 1, false, 0},
		{"shutdown_code", xenabi.HypercallSchedOp, xenabi.SchedOpShutdownCode, 1, false, 0},
		{"poll", xenabi.HypercallSchedOp, xenabi.SchedOpPoll, 1, false, 0},
		{"remote_shutdown", xenabi.HypercallSchedOp, xenabi.SchedOpRemoteShutdown, 1, false, 0},
		{"watchdog", xenabi.HypercallSchedOp, xenabi.SchedOpWatchdog, 1, false, 0},
		{"console_io", xenabi.HypercallConsoleIO, xenabi.ConsoleIOWrite, 2, false, 7},
	} {
		t.Run(x.name, func(t *testing.T) {
			g := newGuest(t, 64)
			args := []uint64{x.cmd, x.mid, x.mid}
			at := bad
			if x.out {
				at = append(at[:len(at):len(at)], readOnlyAt, readOnlyAt-1)
			}
			for _, a := range at {
				args[x.at] = a
				if a == crossAt && strings.HasSuffix(x.name, "*") {
					continue
				}
				if a == readOnlyAt || a == readOnlyAt-1 { // what it says is good
					if err := g.d.Space.WritePhys(mm.GuestPhys(a), []byte{0xf0, 0x7f}); err != nil {
						t.Fatal(err)
					}
				}
				g.want(xenabi.EFAULT, x.nr, args...)
			}
			if g.d.State() >= domain.Ended {
				t.Error("the domain was shut down")
			}
			// In 32-bit code, addresses wrap and lie outside of memory.
			g = newGuest(t, 32)
			args[x.at] = 0x10000000
			g.want(xenabi.EFAULT, x.nr, args...)
			args[x.at] = 0xffffffff
			g.want(xenabi.EFAULT, x.nr, args...)
		})
	}
}

func TestWhoMayCall(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		g.want(versionMajor<<16|versionMinor, xenabi.HypercallXenVersion)
		domaintest.Privilege(g.v, 3)
		g.want(xenabi.EPERM, xenabi.HypercallXenVersion)
		domaintest.Privilege(g.v, 1)
		g.want(xenabi.EPERM, xenabi.HypercallXenVersion)
		domaintest.Privilege(g.v, 0)
		cs := g.v.HV.Segment(virt.CS)
		cs.Attr &^= virt.AttrLong | virt.AttrBig
		g.v.HV.SetSegment(virt.CS, cs)
		g.bits = 32
		g.want(xenabi.EPERM, xenabi.HypercallXenVersion)
	})
	g := newGuest(t, 32)
	if err := g.v.HV.Set(virt.CR0, 0x10); err != nil { // real mode
		t.Fatal(err)
	}
	g.want(xenabi.EPERM, xenabi.HypercallXenVersion)
}

func TestUnknown(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		for _, nr := range []uint64{0, 1, 2, 11, 16, 19, 25, 26, 30, 31, 43, 48, 50, 55, 56, 63, 64, 1 << 31, 0xffffffff} {
			g.want(xenabi.ENOSYS, nr, ^uint64(0), ^uint64(0))
			g.want(xenabi.ENOSYS, nr)
		}
		n := bytes.Count(g.m.Host.Log.Bytes(), []byte("hypercall 11 is not implemented"))
		if n != 1 {
			t.Errorf("logged %d times:\n%s", n, g.m.Host.Log.Bytes())
		}
		for _, nr := range []uint64{xenabi.HypercallXSMOp, xenabi.HypercallPhysdevOp, xenabi.HypercallKexecOp, xenabi.HypercallTmemOp,
			xenabi.HypercallArgoOp, xenabi.HypercallDMOp, xenabi.HypercallHypFSOp, xenabi.HypercallArch1} {
			g.want(xenabi.ENOSYS, nr, 0)
		}
		for _, nr := range []uint64{xenabi.HypercallPlatformOp, xenabi.HypercallDomctl, xenabi.HypercallSysctl} {
			g.want(xenabi.EPERM, nr, 0)
		}
		g.want(xenabi.EOPNOTSUPP, xenabi.HypercallXenPMUOp, 4)
		for _, nr := range []uint64{xenabi.HypercallMemoryOp, xenabi.HypercallXenVersion, xenabi.HypercallConsoleIO, xenabi.HypercallVCPUOp,
			xenabi.HypercallNMIOp, xenabi.HypercallSchedOp, xenabi.HypercallSchedOpCompat, xenabi.HypercallEventChannelOp, xenabi.HypercallHVMOp} {
			g.want(xenabi.ENOSYS, nr, 0x3f, 0, argAt)
		}
		g.want(xenabi.ENOSYS, xenabi.HypercallGrantTableOp, 77, argAt, 1)
	})
	g := newGuest(t, 64)
	g.want(xenabi.ENOSYS, ^uint64(0))
	g.want(xenabi.ENOSYS, 1<<32|xenabi.HypercallXenVersion) // all of RAX counts
}
