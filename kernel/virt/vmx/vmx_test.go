package vmx

import (
	"errors"
	"testing"

	"nidus/kernel/virt"
)

// TestAdjust: SDM vol. 3, appendix A.3.1.
func TestAdjust(t *testing.T) {
	c := control(0xff<<32 | 0x16)
	if v, err := c.adjust("x", 0x09); v != 0x1f || err != nil {
		t.Errorf("%#x %v", v, err)
	}
	if _, err := c.adjust("x", 0x100); !errors.Is(err, ErrControl) {
		t.Error(err)
	}
	if !c.allows(0x80) || c.allows(0x180) {
		t.Error("allows")
	}
}

// skylake has the usual TRUE controls: CR3 accesses need not exit.
func skylake() capability {
	all := func(must uint32) control { return control(0xffffffff<<32 | uint64(must)) }
	return capability{vmx: true, pin: all(0x16), proc: all(0x04006172), proc2: all(0), exit: all(0x36dff), entry: all(0x11ff), ept: eptCap}
}

func TestControls(t *testing.T) {
	c := skylake()
	k, err := c.controls()
	if err != nil || k.proc&0x04006172 != 0x04006172 || k.proc2&proc2EPT == 0 || k.entry&entryGuest64 != 0 && c.entry&entryGuest64 == 0 {
		t.Errorf("%+v %v", k, err)
	}
	for _, spoil := range []func(*capability){
		func(c *capability) { c.proc2 = control(uint64(proc2Unrestricted) << 32) },
		func(c *capability) { c.ept = 0 },
		func(c *capability) { c.pin = 0 },
		func(c *capability) { c.vmx = false },
	} {
		bad := skylake()
		spoil(&bad)
		if _, err := bad.controls(); err == nil {
			t.Errorf("%+v accepted", bad)
		}
	}
	if eptp(0x1234) != 0x123401e {
		t.Errorf("EPTP %#x", eptp(0x1234))
	}
}

func TestAttr(t *testing.T) {
	for _, c := range []struct {
		s    virt.Segment
		want uint64
	}{
		{virt.Segment{Attr: 0xa9b, Limit: 0xffffffff}, 0xa09b}, // 64-bit code;
		{virt.Segment{Attr: 0x93, Limit: 0xffff}, 0x93},
		{virt.Segment{Attr: 0x13}, 1 << 16},
	} {
		if got := attr(&c.s); got != c.want {
			t.Errorf("%+v: %#x, want %#x", c.s, got, c.want)
		}
	}
	if fromAttr(0xa09b) != 0xa9b || fromAttr(0x10093)&virt.AttrPresent != 0 {
		t.Error("fromAttr")
	}
}

func TestDecodeExit(t *testing.T) {
	for _, c := range []struct {
		name string
		x    exitFields
		want virt.Exit
	}{
		{"vmcall", exitFields{reason: 18, length: 3}, virt.Exit{Reason: virt.ReasonHypercall, Length: 3}},
		{"absurd length", exitFields{reason: 10, length: 99}, virt.Exit{Reason: virt.ReasonCPUID}},
		{"in", exitFields{reason: 30, qualification: 0x3f8<<16 | 8, length: 1},
			virt.Exit{Reason: virt.ReasonIO, Length: 1, IO: virt.IO{Port: 0x3f8, Size: 1, In: true}}},
		{"rep outsd", exitFields{reason: 30, qualification: 0x70<<16 | 0x30 | 3, insn: 2<<7 | 3<<15, length: 2},
			virt.Exit{Reason: virt.ReasonIO, Length: 2, IO: virt.IO{Port: 0x70, Size: 4, String: true, Rep: true, Addr: 64, Segment: virt.DS, SegmentKnown: true}}},
		{"mov cr4, r9", exitFields{reason: 28, qualification: 4 | 9<<8, length: 4},
			virt.Exit{Reason: virt.ReasonCR, Length: 4, CR: virt.CRAccess{CR: 4, GPR: 9, Write: true}}},
		{"lmsw", exitFields{reason: 28, qualification: 3<<4 | 0x11<<16},
			virt.Exit{Reason: virt.ReasonCR, CR: virt.CRAccess{Write: true, Op: virt.CRLmsw, Value: 0x11}}},
		{"ept", exitFields{reason: 48, qualification: 2 | 8 | 1<<7, guestPhys: 0xfee00020, length: 7},
			virt.Exit{Reason: virt.ReasonNestedFault, Fault: virt.NestedFault{GPA: 0xfee00020, Write: true, Present: true, Walk: true}}},
		{"#pf", exitFields{reason: 0, event: 0x80000b0e, code: 6}, virt.Exit{Reason: virt.ReasonException, Event: virt.Fault(14, 6)}},
		{"bad state", exitFields{reason: 33 | 1<<31}, virt.Exit{Reason: virt.ReasonInvalidState}},
		{"failed", exitFields{reason: 7, failed: true}, virt.Exit{Reason: virt.ReasonInvalidState}},
		{"vmxon", exitFields{reason: 27}, virt.Exit{Reason: virt.ReasonVirtInsn}},
		{"unknown", exitFields{reason: 900}, virt.Exit{Reason: virt.ReasonUnknown}},
	} {
		var e virt.Exit
		decodeExit(&c.x, &e)
		c.want.Code, c.want.Info1, c.want.Info2 = uint64(c.x.reason), c.x.qualification, c.x.guestPhys
		if e != c.want {
			t.Errorf("%s:\n%+v, want\n%+v", c.name, e, c.want)
		}
	}
}

func TestEvents(t *testing.T) {
	for _, e := range []virt.Event{{Vector: 0x40}, {Kind: virt.NMI, Vector: 2}, virt.Fault(13, 8), virt.Fault(6, 0)} {
		if got, ok := decodeEvent(encodeEvent(e), uint64(e.Code)); got != e || !ok {
			t.Errorf("%v: %v", e, got)
		}
	}
	if e, _ := decodeEvent(0x80000603, 0); e.Kind != virt.SoftInterrupt {
		t.Error("INT3 is executed again")
	}
}

func FuzzDecodeExit(f *testing.F) {
	f.Add(uint32(30), uint64(0x3f80008), uint64(1), uint64(0))
	f.Add(uint32(48), uint64(0x183), uint64(3), uint64(0))
	f.Fuzz(func(t *testing.T, reason uint32, q, length, insn uint64) {
		var e virt.Exit
		decodeExit(&exitFields{reason: reason, qualification: q, length: length, insn: insn}, &e)
		if e.Reason >= virt.NumReasons || e.Length > 15 || e.CR.CR > 15 || e.CR.GPR > 15 ||
			e.Reason == virt.ReasonIO && e.IO.Size != 1 && e.IO.Size != 2 && e.IO.Size != 4 {
			t.Fatalf("%+v", e)
		}
	})
}
