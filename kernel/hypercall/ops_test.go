package hypercall

import (
	"bytes"
	"encoding/binary"
	"testing"

	"nidus/kernel/domain"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

func TestXenVersion(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		const nr = xenabi.HypercallXenVersion
		text := func(cmd uint64, want string) {
			t.Helper()
			g.put(argAt, bytes.Repeat([]byte{0xff}, 1024))
			g.want(0, nr, cmd, argAt)
			if b, _, _ := bytes.Cut(g.get(argAt, 1024), []byte{0}); string(b) != want {
				t.Errorf("xen_version %d: %q", cmd, b)
			}
		}
		text(xenabi.XenVerExtraversion, ".nidus")
		// Which kinds of guests there can be.
		const hvm = "hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 "
		h := g.m.Host
		text(xenabi.XenVerCapabilities, hvm)
		h.PV = new(domain.PVHost)
		text(xenabi.XenVerCapabilities, "xen-3.0-x86_64 xen-3.0-x86_32p "+hvm)
		v := h.Virt
		h.Virt = nil
		text(xenabi.XenVerCapabilities, "xen-3.0-x86_64 xen-3.0-x86_32p ")
		h.PV = nil
		text(xenabi.XenVerCapabilities, "")
		h.Virt = v
		text(xenabi.XenVerChangeset, "nidus")
		text(xenabi.XenVerCommandline, "<denied>")
		text(xenabi.XenVerCompileInfo, "Go")
		g.want(4096, nr, xenabi.XenVerPagesize)
		g.want(xenabi.EINVAL, nr, xenabi.XenVerPagesize, argAt)
		g.want(0, nr, xenabi.XenVerGuestHandle, argAt)
		if !bytes.Equal(g.get(argAt, 16), g.d.UUID[:]) {
			t.Error("guest handle")
		}
		g.want(xenabi.ENODATA, nr, xenabi.XenVerBuildID)
		g.want(0, nr, xenabi.XenVerPlatformParameters, argAt)
		var p xenabi.PlatformParameters
		if g.result(&p); g.bits == 32 && p.VirtStart != xenabi.HypervisorVirtStart32 || g.bits == 64 && p.VirtStart != xenabi.HypervisorVirtStart64 {
			t.Errorf("virt_start %#x", p.VirtStart)
		}
		f := xenabi.FeatureInfo{}
		g.want(0, nr, xenabi.XenVerGetFeatures, g.arg(&f))
		if g.result(&f); f.Submap>>xenabi.XenFeatAutoTranslatedPhysmap&1 == 0 || f.Submap>>xenabi.XenFeatHVMPirqs&1 != 0 || f.Submap>>xenabi.XenFeatDom0&1 != 0 {
			t.Errorf("features %#x", f.Submap)
		}
		for _, i := range []uint32{1, 2, ^uint32(0)} {
			g.want(xenabi.EINVAL, nr, xenabi.XenVerGetFeatures, g.arg(&xenabi.FeatureInfo{SubmapIdx: i}))
		}
	})
}

func TestEventChannel(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		const nr = xenabi.HypercallEventChannelOp
		ipi := xenabi.EvtchnBindIPI{}
		g.want(0, nr, xenabi.EvtchnOpBindIPI, g.arg(&ipi))
		if g.result(&ipi); ipi.Port == 0 {
			t.Fatal("no port")
		}
		g.want(0, nr, xenabi.EvtchnOpSend, g.arg(&xenabi.EvtchnPort{Port: ipi.Port}))
		if !g.d.Events.PendingUpcall(0) {
			t.Error("nothing is pending")
		}
		for _, p := range []uint32{0, 99, 1 << 31, ^uint32(0)} {
			g.want(xenabi.EINVAL, nr, xenabi.EvtchnOpSend, g.arg(&xenabi.EvtchnPort{Port: p}))
		}
		g.want(xenabi.ENOENT, nr, xenabi.EvtchnOpBindIPI, g.arg(&xenabi.EvtchnBindIPI{VCPU: 3}))
		g.want(xenabi.ENOENT, nr, xenabi.EvtchnOpBindIPI, g.arg(&xenabi.EvtchnBindIPI{VCPU: ^uint32(0)}))
		g.want(0, nr, xenabi.EvtchnOpClose, g.arg(&xenabi.EvtchnPort{Port: ipi.Port}))
		g.want(xenabi.ENOSYS, nr, 14, argAt)
		g.want(xenabi.ENOSYS, nr, 0xffffffff, argAt)
	})
}

// TestEventChannelCompat: the operation is in front of its structure, in guest memory.
func TestEventChannelCompat(t *testing.T) {
	bothPV(t, func(t *testing.T, g *guest) {
		const nr = xenabi.HypercallEventChannelOpCompat
		op := func(want any, words ...uint32) {
			t.Helper()
			var b []byte
			for _, w := range words {
				b = binary.LittleEndian.AppendUint32(b, w)
			}
			g.put(argAt, b)
			g.want(want, nr, argAt)
		}
		op(0, xenabi.EvtchnOpBindVIRQ, xenabi.VIRQDebug, 0, 0)
		port := binary.LittleEndian.Uint32(g.get(argAt+12, 4))
		if port == 0 {
			t.Fatal("no port")
		}
		op(xenabi.EEXIST, xenabi.EvtchnOpBindVIRQ, xenabi.VIRQDebug, 0, 0)
		op(xenabi.ENOENT, xenabi.EvtchnOpBindVIRQ, xenabi.VIRQDebug, 99, 0)
		op(xenabi.EINVAL, xenabi.EvtchnOpBindVIRQ, ^uint32(0), 0, 0)
		op(xenabi.EPERM, xenabi.EvtchnOpBindPIRQ, 1, 0, 0)
		op(0, xenabi.EvtchnOpUnmask, port)
		op(0, xenabi.EvtchnOpClose, port)
		op(xenabi.EINVAL, xenabi.EvtchnOpClose, port)
		for _, cmd := range []uint32{xenabi.EvtchnOpReset, xenabi.EvtchnOpSetPriority, 14, ^uint32(0)} {
			op(xenabi.ENOSYS, cmd, 1, 1)
		}
		for _, at := range []uint64{nowhere, nowhere - 4, ^uint64(0), ^uint64(3)} {
			if g.bits == 64 || at>>32 == 0 {
				g.want(xenabi.EFAULT, nr, at)
			}
		}
	})
}

func TestGrantTable(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		const nr = xenabi.HypercallGrantTableOp
		q := xenabi.GnttabQuerySize{DomID: uint16(mm.DomIDSelf)}
		g.want(0, nr, xenabi.GnttabOpQuerySize, g.arg(&q), 1)
		if g.result(&q); q.NrFrames != 1 || q.MaxNrFrames == 0 || q.Status != 0 {
			t.Errorf("%+v", q)
		}
		g.want(xenabi.EINVAL, nr, xenabi.GnttabOpQuerySize, argAt, 0)
		g.want(xenabi.EINVAL, nr, xenabi.GnttabOpQuerySize, argAt, 2)
		g.want(xenabi.EINVAL, nr, xenabi.GnttabOpQuerySize, argAt, 0xffffffff)
		g.want(0, nr, xenabi.GnttabOpSetVersion, g.arg(&xenabi.GnttabSetVersion{Version: 2}), 1)
		g.want(xenabi.EINVAL, nr, xenabi.GnttabOpSetVersion, g.arg(&xenabi.GnttabSetVersion{Version: 3}), 1)
		// More than one go: each of 150 structures gets its status.
		s := xenabi.GnttabSwapGrantRef{RefA: 1 << 30, RefB: 1}
		size := xenabi.Size(g.w(), &s)
		for i := range 150 {
			b := make([]byte, size)
			xenabi.Encode(g.w(), b, &s)
			g.put(mm.GuestVirt(dataAt+i*size), b)
		}
		g.once(nr, xenabi.GnttabOpSwapGrantRef, dataAt, 150)
		if g.last.Kind != Repeat {
			t.Error("150 structures at once")
		}
		g.want(0, nr, xenabi.GnttabOpSwapGrantRef, dataAt, 150)
		for i := range 150 {
			xenabi.Decode(g.w(), g.get(mm.GuestVirt(dataAt+i*size), size), &s)
			if s.Status != xenabi.GNTSTBadGntref {
				t.Fatalf("structure %d: status %d", i, s.Status)
			}
		}
	})
}

func TestHVMParams(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		const nr = xenabi.HypercallHVMOp
		self := uint16(mm.DomIDSelf)
		g.d.SetParam(xenabi.HVMParamStorePFN, 0xabc)
		p := xenabi.HVMParam{DomID: self, Index: xenabi.HVMParamStorePFN}
		g.want(0, nr, xenabi.HVMOpGetParam, g.arg(&p))
		if g.result(&p); p.Value != 0xabc {
			t.Errorf("STORE_PFN %#x", p.Value)
		}
		cb := xenabi.HVMParam{DomID: self, Index: xenabi.HVMParamCallbackIRQ, Value: 2<<56 | 0xf3}
		g.want(0, nr, xenabi.HVMOpSetParam, g.arg(&cb))
		if g.d.CallbackVector() != 0xf3 {
			t.Errorf("callback %#x", g.d.CallbackVector())
		}
		g.want(0, nr, xenabi.HVMOpGetParam, g.arg(&xenabi.HVMParam{DomID: uint16(g.d.ID), Index: xenabi.HVMParamCallbackIRQ}))
		for i := range uint32(xenabi.HVMNrParams) {
			switch i {
			case xenabi.HVMParamCallbackIRQ, xenabi.HVMParamVM86TSS, xenabi.HVMParamVM86TSSSized:
				continue
			}
			g.want(xenabi.EPERM, nr, xenabi.HVMOpSetParam, g.arg(&xenabi.HVMParam{DomID: self, Index: i, Value: 1}))
		}
		for _, op := range []uint64{xenabi.HVMOpSetParam, xenabi.HVMOpGetParam} {
			g.want(xenabi.EINVAL, nr, op, g.arg(&xenabi.HVMParam{DomID: self, Index: xenabi.HVMNrParams}))
			g.want(xenabi.EINVAL, nr, op, g.arg(&xenabi.HVMParam{DomID: self, Index: ^uint32(0)}))
			g.want(xenabi.EPERM, nr, op, g.arg(&xenabi.HVMParam{DomID: 0}))
			g.want(xenabi.ESRCH, nr, op, g.arg(&xenabi.HVMParam{DomID: 77}))
			g.want(xenabi.ESRCH, nr, op, g.arg(&xenabi.HVMParam{DomID: 0xffff}))
		}
		g.want(xenabi.EPERM, nr, xenabi.HVMOpGetParam, g.arg(&xenabi.HVMParam{DomID: self, Index: xenabi.HVMParamIdentPT}))
	})
}

func TestHVMOps(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		const nr = xenabi.HypercallHVMOp
		g.want(0, nr, xenabi.HVMOpSetEvtchnUpcallVector, g.arg(&xenabi.HVMEvtchnUpcallVector{Vector: 0xf0}))
		if g.v.UpcallVector != 0xf0 {
			t.Error("upcall vector")
		}
		g.want(0, nr, xenabi.HVMOpSetEvtchnUpcallVector, g.arg(&xenabi.HVMEvtchnUpcallVector{VCPU: 2, Vector: 16}))
		g.want(xenabi.EINVAL, nr, xenabi.HVMOpSetEvtchnUpcallVector, g.arg(&xenabi.HVMEvtchnUpcallVector{Vector: 15}))
		g.want(xenabi.ENOENT, nr, xenabi.HVMOpSetEvtchnUpcallVector, g.arg(&xenabi.HVMEvtchnUpcallVector{VCPU: 3, Vector: 0xf0}))
		g.want(xenabi.ENOENT, nr, xenabi.HVMOpSetEvtchnUpcallVector, g.arg(&xenabi.HVMEvtchnUpcallVector{VCPU: ^uint32(0), Vector: 0xf0}))
		g.want(0, nr, xenabi.HVMOpGetTime, argAt)
		var now xenabi.HVMGetTime
		if g.result(&now); now.Now != uint64(g.m.Clock.Now()) {
			t.Errorf("time %d", now.Now)
		}
		g.want(0, nr, xenabi.HVMOpFlushTLBs)
		g.want(xenabi.EINVAL, nr, xenabi.HVMOpFlushTLBs, argAt)
		g.want(xenabi.ENOSYS, nr, xenabi.HVMOpPagetableDying, argAt)
		g.want(0, nr, xenabi.HVMOpXentrace, argAt)
		g.want(xenabi.EOPNOTSUPP, nr, xenabi.HVMOpAltP2M, argAt)
		g.want(0, nr, xenabi.HVMOpGuestRequestVMEvent)
		g.want(xenabi.EINVAL, nr, xenabi.HVMOpGuestRequestVMEvent, argAt)
		for _, x := range []struct {
			dom  uint32
			gfn  uint32
			high uint32
			res  any
			typ  uint32
		}{
			{uint32(mm.DomIDSelf), 5, 0, 0, memTypeRAM},
			{uint32(mm.DomIDSelf), 0x12345, 0, 0, memTypeMMIODM},
			{uint32(mm.DomIDSelf), ^uint32(0), ^uint32(0), 0, memTypeMMIODM},
			{0, 5, 0, xenabi.EPERM, 0},
			{99, 5, 0, xenabi.ESRCH, 0},
		} {
			g.put32(argAt, x.dom, 0, x.gfn, x.high)
			g.want(x.res, nr, xenabi.HVMOpGetMemType, argAt)
			if got := g.get32(argAt) >> 16; x.res == 0 && got != x.typ {
				t.Errorf("gfn %#x: type %d", x.gfn, got)
			}
		}
	})
}

func TestMisc(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		text := bytes.Repeat([]byte("0123456789abcdef hello console\n"), 100)
		g.put(dataAt, text)
		g.once(xenabi.HypercallConsoleIO, xenabi.ConsoleIOWrite, uint64(len(text)), dataAt)
		if g.last.Kind != Repeat {
			t.Error("all at once")
		}
		g.d.Emergency.Flush()
		before := len(g.d.Console.Bytes())
		g.want(0, xenabi.HypercallConsoleIO, xenabi.ConsoleIOWrite, uint64(len(text)), dataAt)
		if n := len(g.d.Console.Bytes()) - before; n != len(text) {
			t.Errorf("%d of %d bytes", n, len(text))
		}
		g.want(0, xenabi.HypercallConsoleIO, xenabi.ConsoleIOWrite, 0, dataAt)
		g.want(xenabi.EINVAL, xenabi.HypercallConsoleIO, xenabi.ConsoleIOWrite, 0x80000000, dataAt)
		g.want(xenabi.EINVAL, xenabi.HypercallConsoleIO, xenabi.ConsoleIOWrite, 0xffffffff, dataAt)
		g.want(xenabi.EFAULT, xenabi.HypercallConsoleIO, xenabi.ConsoleIOWrite, 0x7fffffff, dataAt) // reaches the end
		g.want(0, xenabi.HypercallConsoleIO, xenabi.ConsoleIORead, 10, dataAt)

		g.want(0, xenabi.HypercallVMAssist, xenabi.VMAssistCmdEnable, xenabi.VMAssistTypeRunstateUpdateFlag)
		g.want(0, xenabi.HypercallVMAssist, xenabi.VMAssistCmdDisable, xenabi.VMAssistTypeRunstateUpdateFlag)
		g.want(xenabi.EINVAL, xenabi.HypercallVMAssist, xenabi.VMAssistCmdEnable, xenabi.VMAssistType4GBSegments)
		g.want(xenabi.EINVAL, xenabi.HypercallVMAssist, xenabi.VMAssistCmdEnable, 0xffffffff)
		g.want(xenabi.ENOSYS, xenabi.HypercallVMAssist, 2, xenabi.VMAssistTypeRunstateUpdateFlag)

		g.want(xenabi.EINVAL, xenabi.HypercallNMIOp, nmiRegisterCallback, argAt)
		g.want(0, xenabi.HypercallNMIOp, nmiUnregisterCallback)
	})
}

func TestSetTimer(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		set := func(at uint64) int64 {
			if g.bits == 64 {
				g.want(0, xenabi.HypercallSetTimerOp, at)
			} else {
				g.want(0, xenabi.HypercallSetTimerOp, at&0xffffffff, at>>32)
			}
			g.v.Timers()
			return g.m.Threads.DeadlineOf(g.v.HV.KickWord())
		}
		if at := set(7_000_000_000); at != 7_000_000_000 {
			t.Errorf("deadline %d", at)
		}
		// What is later leaves the thread armed as it is, until then.
		for _, later := range []uint64{0, 1, 8_000_000_000, ^uint64(0)} { // 1 fires at once
			if at := set(later); at != 7_000_000_000 {
				t.Errorf("deadline %d after %d was set", at, later)
			}
		}
		g.m.Clock.Advance(7_000_000_000)
		if g.v.Timers(); g.m.Threads.DeadlineOf(g.v.HV.KickWord()) != 1<<63-1 {
			t.Errorf("deadline %d", g.m.Threads.DeadlineOf(g.v.HV.KickWord()))
		}
		if at := set(9_000_000_000); at != 9_000_000_000 {
			t.Errorf("deadline %d, which is sooner", at)
		}
	})
}

func TestMulticall(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		const nr = xenabi.HypercallMulticall
		size := mm.GuestVirt(8 * g.w())
		result := func(i int) int64 {
			b := g.get(dataAt+mm.GuestVirt(i)*size+mm.GuestVirt(g.w()), int(g.w()))
			if g.bits == 32 {
				return int64(int32(uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24))
			}
			var v int64
			for k := range b {
				v |= int64(b[k]) << (8 * k)
			}
			return v
		}
		g.put(argAt, []byte("one\n"))
		g.words(dataAt, xenabi.HypercallXenVersion, 0, 0, 0, 0, 0, 0, 0)
		g.words(dataAt+size, xenabi.HypercallConsoleIO, 0, xenabi.ConsoleIOWrite, 4, argAt, 0, 0, 0)
		g.words(dataAt+2*size, nr, 0, dataAt, 1)
		g.words(dataAt+3*size, 11, 0)
		g.words(dataAt+4*size, xenabi.HypercallSchedOp, 0, xenabi.SchedOpBlock)
		g.words(dataAt+5*size, xenabi.HypercallSchedOp, 0, xenabi.SchedOpPoll, argAt)
		g.want(0, nr, dataAt, 6)
		if g.last.Kind != Block {
			t.Errorf("outcome %v", g.last)
		}
		for i, w := range []int64{4<<16 | 17, 0, -int64(xenabi.EINVAL), -int64(xenabi.ENOSYS), 0, -int64(xenabi.EINVAL)} {
			if got := result(i); got != w {
				t.Errorf("call %d = %d, want %d", i, got, w)
			}
		}
		// A call that is continued inside, and more calls than one go does.
		g.put(argAt, bytes.Repeat([]byte("x"), 4096))
		for i := range 200 {
			g.words(dataAt+mm.GuestVirt(i)*size, xenabi.HypercallConsoleIO, 77, xenabi.ConsoleIOWrite, 4096, argAt)
		}
		before := len(g.d.Console.Bytes())
		g.want(0, nr, dataAt, 3)
		if n := len(g.d.Console.Bytes()) - before; n < 3*4096 {
			t.Errorf("%d bytes were written", n)
		}
		for i := range 200 {
			g.words(dataAt+mm.GuestVirt(i)*size, xenabi.HypercallXenVersion, 0, 0)
		}
		g.once(nr, dataAt, 200)
		if g.last.Kind != Repeat {
			t.Error("200 calls at once")
		}
		g.want(0, nr, dataAt, 200)
		if result(199) != 4<<16|17 {
			t.Error("the last of 200 calls")
		}
		g.want(0, nr, 0, 0)
		g.want(xenabi.EFAULT, nr, dataAt, 0xffffffff) // to the end of memory
		g.want(xenabi.EFAULT, nr, 0x10000000, 1)
		if g.bits == 64 {
			g.want(xenabi.EFAULT, nr, badCanon, 1)
			g.want(xenabi.EFAULT, nr, readOnlyAt, 1)
		}
	})
}

func TestFlatSegmentsOnly(t *testing.T) {
	// Hypercall addresses are linear: bases of segments don't count.
	g := newGuest(t, 32)
	ds := g.v.HV.Segment(virt.DS)
	ds.Base = 0x1000
	g.v.HV.SetSegment(virt.DS, ds)
	g.want(0, xenabi.HypercallXenVersion, xenabi.XenVerGuestHandle, argAt)
	if !bytes.Equal(g.get(argAt, 16), g.d.UUID[:]) {
		t.Error("not at its linear address")
	}
}
