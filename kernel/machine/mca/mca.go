// Package mca decides what a machine check means: whether the machine can go on,
// and which domain can't.
//
// Reference: AMD64 APM volume 2 (24593), chapter 9; Intel SDM volume 3, chapter 16,
// agrees on the bits used here.
package mca

import (
	"fmt"
	"strings"

	"nidus/mm"
)

// MSRs (APM vol. 2, 9.3). Bank n's are at msrBank + 4n: control, status, address.
const (
	msrCap    = 0x179
	msrStatus = 0x17a
	msrBank   = 0x400
	maxBanks  = 32
)

// Bits of MCG_STATUS (9.3.1.2).
const (
	globalRIPV = 1 << 0 // the interrupted program can go on
	globalMCIP = 1 << 2 // another machine check would shut the processor down
)

// Bits of MCi_STATUS (9.3.2.1).
const (
	bankValid   = 1 << 63
	bankUC      = 1 << 61 // not corrected
	bankAddress = 1 << 58
	bankPCC     = 1 << 57 // the processor's own state is damaged
)

// Bank is what one bank has recorded.
type Bank struct {
	N               int
	Status, Address uint64
}

// Record is what a CPU has recorded.
type Record struct {
	Status uint64 // MCG_STATUS
	Banks  []Bank // those with an error
}

// Read takes what the CPU has recorded and clears it, so that the next machine
// check can be told. It runs on that CPU.
func Read(read func(msr uint32) uint64, write func(msr uint32, v uint64)) Record {
	r := Record{Status: read(msrStatus)}
	for i := range min(int(read(msrCap)&0xff), maxBanks) {
		at := uint32(msrBank + 4*i)
		b := Bank{N: i, Status: read(at + 1)}
		if b.Status&bankValid == 0 {
			continue
		}
		if b.Status&bankAddress != 0 {
			b.Address = read(at + 2)
		}
		r.Banks = append(r.Banks, b)
		write(at+1, 0)
	}
	if r.Status&globalMCIP != 0 {
		write(msrStatus, 0)
	}
	return r
}

// String is for the log.
func (r Record) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "MCG_STATUS %#x", r.Status)
	for _, b := range r.Banks {
		fmt.Fprintf(&s, ", bank %d status %#016x", b.N, b.Status)
		if b.Status&bankAddress != 0 {
			fmt.Fprintf(&s, " address %#x", b.Address)
		}
	}
	return s.String()
}

// Verdict is what has to end.
type Verdict uint8

// The verdicts, the mildest first.
const (
	// GoOn: everything was corrected, or nobody has used what is damaged.
	GoOn Verdict = iota
	// EndDomain: the domain that ran has met damaged data.
	EndDomain
	// EndHost: the hypervisor can't trust its own state.
	EndHost
)

// Judge decides about a machine check that came while a vcpu of domain running ran.
// frame tells whose a frame is.
func Judge(r Record, running mm.DomID, frame func(mm.MFN) mm.Frame) Verdict {
	v := GoOn
	explained := false
	for _, b := range r.Banks {
		switch {
		case b.Status&bankPCC != 0:
			return EndHost
		case b.Status&bankUC == 0:
			continue
		}
		explained = true
		if b.Status&bankAddress == 0 { // what the guest was doing is lost, no more is known
			v = max(v, EndDomain)
			continue
		}
		switch f := frame(mm.MFN(b.Address >> mm.PageShift)); {
		case f.Kind == mm.FrameGuest && f.Owner == running:
			v = max(v, EndDomain)
		case f.Kind == mm.FrameGuest:
			// its owner gets a machine check of its own when it reads it
		case f.Kind == mm.FrameNone && r.Status&globalRIPV != 0:
			// nobody's, and nobody has read it
		default:
			return EndHost
		}
	}
	if r.Status&globalRIPV == 0 && v == GoOn {
		if !explained {
			return EndHost
		}
		return EndDomain // it can't go on where it was
	}
	return v
}
