package xenabi

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func traceOf(w Width, s Struct) (size int, offs []int) {
	c := codec{w: w, mode: measure, keep: true}
	s.layout(&c)
	return c.end(), c.trace
}

func TestStructLayouts(t *testing.T) {
	for _, s := range cStructs {
		if n, o := traceOf(Guest64, s.s); n != s.size64 || !slices.Equal(o, s.offs64) {
			t.Errorf("%s, 64-bit: size %d at %v, header has %d at %v", s.name, n, o, s.size64, s.offs64)
		}
		if n, o := traceOf(Guest32, s.s); n != s.size32 || !slices.Equal(o, s.offs32) {
			t.Errorf("%s, 32-bit: size %d at %v, header has %d at %v", s.name, n, o, s.size32, s.offs32)
		}
	}
}

// sharedFields pairs the offsets of SharedInfo with the header's fields.
func sharedFields(l *SharedInfo) map[string]int {
	m := map[string]int{
		"sizeof(struct shared_info)":                            l.Size,
		"sizeof(struct vcpu_info)":                              VCPUInfoSize,
		"sizeof(struct vcpu_time_info)":                         TimeSize,
		"sizeof(struct vcpu_runstate_info)":                     l.RunstateSize,
		"sizeof(struct evtchn_fifo_control_block)":              FIFOControlSize,
		"XEN_LEGACY_MAX_VCPUS":                                  LegacyMaxVCPUs,
		"EVTCHN_2L_NR_CHANNELS":                                 l.NrEvtchn,
		"sizeof(grant_entry_v1_t)":                              GrantV1Size,
		"sizeof(grant_entry_v2_t)":                              GrantV2Size,
		"sizeof(grant_status_t)":                                GrantStatusSize,
		"XENSTORE_RING_SIZE":                                    XenstoreRingSize,
		"sizeof(((struct xencons_interface *)0)->in)":           ConsoleInSize,
		"sizeof(((struct xencons_interface *)0)->out)":          ConsoleOutSize,
		"sizeof(((struct shared_info *)0)->evtchn_pending) * 8": l.NrEvtchn,
	}
	add := func(typ, field string, v int) { m[fmt.Sprintf("offsetof(%s, %s)", typ, field)] = v }
	si := "struct shared_info"
	add(si, "vcpu_info", 0)
	add(si, "evtchn_pending", l.EvtchnPending)
	add(si, "evtchn_mask", l.EvtchnMask)
	add(si, "wc_version", l.WCVersion)
	add(si, "wc_sec", l.WCSec)
	add(si, "wc_nsec", l.WCNsec)
	secHi := "wc_sec_hi"
	if l.Width == Guest32 {
		secHi = "arch.wc_sec_hi"
	}
	add(si, secHi, l.WCSecHi)
	add(si, "arch.max_pfn", l.ArchMaxPFN)
	add(si, "arch.pfn_to_mfn_frame_list_list", l.ArchPFNToMFNFrameList)
	add(si, "arch.nmi_reason", l.ArchNMIReason)
	add(si, "arch.p2m_cr3", l.ArchP2MCR3)
	add(si, "arch.p2m_vaddr", l.ArchP2MVaddr)
	add(si, "arch.p2m_generation", l.ArchP2MGeneration)
	vi := "struct vcpu_info"
	add(vi, "evtchn_upcall_pending", VCPUEvtchnUpcallPending)
	add(vi, "evtchn_upcall_mask", VCPUEvtchnUpcallMask)
	add(vi, "evtchn_pending_sel", l.VCPUEvtchnPendingSel)
	add(vi, "arch.cr2", l.VCPUArchCR2)
	add(vi, "time", VCPUTime)
	ti := "struct vcpu_time_info"
	add(ti, "version", TimeVersion)
	add(ti, "tsc_timestamp", TimeTSCTimestamp)
	add(ti, "system_time", TimeSystemTime)
	add(ti, "tsc_to_system_mul", TimeTSCToSystemMul)
	add(ti, "tsc_shift", TimeTSCShift)
	add(ti, "flags", TimeFlags)
	rs := "struct vcpu_runstate_info"
	add(rs, "state", RunstateState)
	add(rs, "state_entry_time", l.RunstateStateEntryTime)
	add(rs, "time", l.RunstateTime)
	fc := "struct evtchn_fifo_control_block"
	add(fc, "ready", FIFOControlReady)
	add(fc, "head", FIFOControlHead)
	co := "struct xencons_interface"
	add(co, "in", ConsoleIn)
	add(co, "out", ConsoleOut)
	add(co, "in_cons", ConsoleInCons)
	add(co, "in_prod", ConsoleInProd)
	add(co, "out_cons", ConsoleOutCons)
	add(co, "out_prod", ConsoleOutProd)
	xs := "struct xenstore_domain_interface"
	add(xs, "req", XenstoreReq)
	add(xs, "rsp", XenstoreRsp)
	add(xs, "req_cons", XenstoreReqCons)
	add(xs, "req_prod", XenstoreReqProd)
	add(xs, "rsp_cons", XenstoreRspCons)
	add(xs, "rsp_prod", XenstoreRspProd)
	add(xs, "server_features", XenstoreServerFeatures)
	add(xs, "connection", XenstoreConnection)
	add(xs, "error", XenstoreError)
	add("grant_entry_v1_t", "flags", GrantFlags)
	add("grant_entry_v1_t", "domid", GrantDomID)
	add("grant_entry_v1_t", "frame", GrantV1Frame)
	add("grant_entry_v2_t", "full_page.frame", GrantV2Frame)
	add("grant_entry_v2_t", "sub_page.frame", GrantV2Frame)
	add("grant_entry_v2_t", "sub_page.page_off", GrantV2PageOff)
	add("grant_entry_v2_t", "sub_page.length", GrantV2Length)
	add("grant_entry_v2_t", "transitive.trans_domid", GrantV2TransDomID)
	add("grant_entry_v2_t", "transitive.gref", GrantV2TransGref)
	return m
}

// TestAgainstHeaders has the C compiler compare every number of this package
// with the public headers, for both widths.
func TestAgainstHeaders(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("gcc is missing: the numbers in the other tests still count")
	}
	if _, err := os.Stat("/usr/include/xen/xen.h"); err != nil {
		t.Skip("libxen-dev is missing")
	}
	for _, w := range []Width{Guest64, Guest32} {
		var b strings.Builder
		fmt.Fprintf(&b, "#include <stddef.h>\n#include <stdint.h>\n#define __XEN_TOOLS__ 1\n")
		fmt.Fprintf(&b, "#include <xen/errno.h>\n")
		for _, h := range []string{"xen.h", "event_channel.h", "grant_table.h", "sched.h", "vcpu.h",
			"memory.h", "version.h", "features.h", "callback.h", "physdev.h", "hvm/hvm_op.h",
			"hvm/params.h", "hvm/hvm_vcpu.h", "arch-x86/hvm/start_info.h", "arch-x86/cpuid.h", "io/console.h", "io/xs_wire.h"} {
			fmt.Fprintf(&b, "#include <xen/%s>\n", h)
		}
		check := func(expr string, v int64) {
			fmt.Fprintf(&b, "_Static_assert((long long)(%s) == %dLL, %q);\n", expr, v, expr)
		}
		for _, c := range cConsts {
			check(c.name, c.value)
		}
		for name, v := range widthConsts[w] {
			check(name, int64(v))
		}
		for _, s := range cStructs {
			size, offs := s.size64, s.offs64
			if w == Guest32 {
				size, offs = s.size32, s.offs32
			}
			check("sizeof("+s.name+")", int64(size))
			for i, f := range s.fields {
				check(fmt.Sprintf("offsetof(%s, %s)", s.name, f), int64(offs[i]))
			}
		}
		for e, v := range sharedFields(SharedInfoOf(w)) {
			check(e, int64(v))
		}
		for _, p := range pvPlaces(new(VCPUGuestContext)) {
			switch {
			case p.field == "" && w == Guest32:
				check("sizeof("+p.name+")", int64(p.size32))
			case p.field == "":
				check("sizeof("+p.name+")", int64(p.size64))
			case p.at(w) >= 0:
				check(fmt.Sprintf("offsetof(%s, %s)", p.name, p.field), int64(p.at(w)))
			}
		}
		f := filepath.Join(t.TempDir(), "check.c")
		if err := os.WriteFile(f, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(gcc, fmt.Sprintf("-m%d", w.Bits()), "-ffreestanding", "-fsyntax-only", "-std=gnu11", f).CombinedOutput()
		if err != nil {
			t.Errorf("%d-bit guests: %v\n%s", w.Bits(), err, out)
		}
	}
}

func TestSharedInfoNumbers(t *testing.T) {
	l := SharedInfoOf(Guest64)
	if l.EvtchnPending != 2048 || l.EvtchnMask != 2560 || l.WCVersion != 3072 || l.NrEvtchn != 4096 || l.VCPUEvtchnPendingSel != 8 {
		t.Errorf("64-bit shared_info: %+v", *l)
	}
	l = SharedInfoOf(Guest32)
	if l.EvtchnPending != 2048 || l.EvtchnMask != 2176 || l.WCVersion != 2304 || l.NrEvtchn != 1024 || l.VCPUEvtchnPendingSel != 4 {
		t.Errorf("32-bit shared_info: %+v", *l)
	}
	for _, c := range []struct {
		vcpu, off int
		ok        bool
	}{{0, 0, true}, {31, 31 * 64, true}, {32, 0, false}, {-1, 0, false}} {
		if off, ok := l.VCPUInfo(c.vcpu); off != c.off || ok != c.ok {
			t.Errorf("VCPUInfo(%d) = %d, %v", c.vcpu, off, ok)
		}
	}
}

func TestDecodeEncode(t *testing.T) {
	in := GnttabSetupTable{DomID: 0x7ff0, NrFrames: 3, Status: GNTSTBadPage, FrameList: 0x1122334455667788}
	b := make([]byte, 24)
	if !Encode(Guest64, b, &in) {
		t.Fatal("24 bytes are refused")
	}
	var out GnttabSetupTable
	if !Decode(Guest64, b, &out) || out != in {
		t.Errorf("64-bit: %+v", out)
	}
	if Decode(Guest64, b[:23], &out) || Encode(Guest64, b[:23], &in) {
		t.Error("23 bytes are accepted")
	}
	if !Encode(Guest32, b, &in) || !Decode(Guest32, b, &out) || out.FrameList != 0x55667788 || out.Status != GNTSTBadPage {
		t.Errorf("32-bit: %+v", out)
	}
}

func TestErrno(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int64
	}{
		{nil, 0}, {EPERM, -1}, {ENOSYS, -38}, {ECONNREFUSED, -111},
		{fmt.Errorf("port 3: %w", EBUSY), -16}, {errors.New("other"), -22},
	} {
		if got := Result(c.err); got != c.want {
			t.Errorf("Result(%v) = %d, want %d", c.err, got, c.want)
		}
	}
	for e, want := range map[Errno]string{EINVAL: "EINVAL: invalid argument", 4: "errno 4", -1: "errno -1", 4000: "errno 4000"} {
		if e.Error() != want {
			t.Errorf("%d: %q", int64(e), e.Error())
		}
	}
}

func TestVIRQIsGlobal(t *testing.T) {
	for v, want := range map[uint32]bool{VIRQTimer: false, VIRQDebug: false, VIRQXenoprof: false, VIRQXenPMU: false,
		VIRQConsole: true, VIRQDomExc: true, VIRQArch0: true} {
		if VIRQIsGlobal(v) != want {
			t.Errorf("virq %d", v)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(0, false, make([]byte, 64))
	f.Fuzz(func(t *testing.T, i int, narrow bool, b []byte) {
		w := Guest64
		if narrow {
			w = Guest32
		}
		s := cStructs[uint(i)%uint(len(cStructs))].s
		if ok := Decode(w, b, s); ok != (len(b) >= Size(w, s)) {
			t.Fatalf("Decode of %d bytes: %v", len(b), ok)
		} else if ok {
			c := slices.Clone(b)
			if !Encode(w, c, s) || !slices.Equal(b, c) {
				t.Fatalf("%x became %x", b, c)
			}
		}
	})
}
