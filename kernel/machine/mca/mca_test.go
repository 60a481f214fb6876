package mca

import (
	"strings"
	"testing"

	"nidus/mm"
)

const addressed = bankValid | bankUC | bankAddress

func frames(m mm.MFN) mm.Frame {
	switch m {
	case 0x100:
		return mm.Frame{Kind: mm.FrameGuest, Owner: 1}
	case 0x200:
		return mm.Frame{Kind: mm.FrameGuest, Owner: 2}
	case 0x300:
		return mm.Frame{Kind: mm.FrameKernel}
	case 0x400:
		return mm.Frame{Kind: mm.FrameTable, Owner: 1}
	}
	return mm.Frame{}
}

func TestJudge(t *testing.T) {
	const ripv, lost = globalRIPV, 0
	for _, c := range []struct {
		name   string
		status uint64
		banks  []Bank
		want   Verdict
	}{
		{"nothing recorded, can go on", ripv, nil, GoOn},
		{"nothing recorded, can't", lost, nil, EndHost},
		{"corrected", ripv, []Bank{{Status: bankValid | bankAddress, Address: 0x300000}}, GoOn},
		{"processor damaged", ripv, []Bank{{Status: bankValid | bankPCC}}, EndHost},
		{"its memory", lost, []Bank{{Status: addressed, Address: 0x100fff}}, EndDomain},
		{"its memory, can go on", ripv, []Bank{{Status: addressed, Address: 0x100000}}, EndDomain},
		{"another's memory", ripv, []Bank{{Status: addressed, Address: 0x200000}}, GoOn},
		{"another's memory, but it can't go on", lost, []Bank{{Status: addressed, Address: 0x200000}}, EndDomain},
		{"the kernel's memory", ripv, []Bank{{Status: addressed, Address: 0x300000}}, EndHost},
		{"its nested table", ripv, []Bank{{Status: addressed, Address: 0x400000}}, EndHost},
		{"free memory", ripv, []Bank{{Status: addressed, Address: 0x500000}}, GoOn},
		{"beyond memory, and lost", lost, []Bank{{Status: addressed, Address: ^uint64(0)}}, EndHost},
		{"no address", lost, []Bank{{Status: bankValid | bankUC}}, EndDomain},
		{"the worst counts", lost, []Bank{{Status: addressed, Address: 0x100000}, {Status: addressed, Address: 0x300000}}, EndHost},
		{"in any order", lost, []Bank{{Status: addressed, Address: 0x100000}, {Status: addressed, Address: 0x200000}}, EndDomain},
	} {
		if got := Judge(Record{c.status, c.banks}, 1, frames); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestRead(t *testing.T) {
	regs := map[uint32]uint64{msrCap: 0xffff03, msrStatus: globalMCIP, 0x401: bankValid, 0x402: 1, 0x409: addressed, 0x40a: 0x1000, 0x40d: addressed}
	regs[msrCap] = 3
	r := Read(func(m uint32) uint64 { return regs[m] }, func(m uint32, v uint64) { regs[m] = v })
	if r.Status != globalMCIP || len(r.Banks) != 2 || r.Banks[0] != (Bank{0, bankValid, 0}) || r.Banks[1] != (Bank{2, addressed, 0x1000}) {
		t.Errorf("%+v", r)
	}
	if regs[msrStatus] != 0 || regs[0x401] != 0 || regs[0x409] != 0 || regs[0x40d] == 0 {
		t.Errorf("left %#x", regs)
	}
	if s := r.String(); !strings.Contains(s, "bank 2 status 0xa4") || !strings.Contains(s, "address 0x1000") {
		t.Error(s)
	}
	// a processor that claims too many banks
	n := 0
	Read(func(m uint32) uint64 { n++; return 0xff }, func(uint32, uint64) {})
	if n > 2+2*maxBanks {
		t.Errorf("%d reads", n)
	}
}
