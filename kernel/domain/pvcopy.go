package domain

import (
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// copyPV is CopyIn and CopyOut of a PV guest: by the guest's addresses, as its tables that are
// loaded allow it, or by the tables that package pvmmu has checked, instead of a walk that trusts
// nothing. It returns false, and has written nothing, where that is no simple matter: then the
// walk says what is wrong.
func (v *VCPU) copyPV(a mm.GuestVirt, b []byte, out bool) bool {
	if out && v.machine.hv.CopyOut(a, b) || !out && v.machine.hv.CopyIn(b, a) {
		return true
	}
	const maxPages = 4 // arguments are short; no list is read in one piece
	var pages [maxPages]mm.GuestPhys
	n := 0
	for at, left := a, len(b); left > 0; n++ {
		if n == maxPages {
			return false
		}
		var ok bool
		if pages[n], ok = v.framePV(at, out); !ok {
			return false
		}
		step := min(left, mm.PageSize-int(at&mm.PageMask))
		at, left = at+mm.GuestVirt(step), left-step
	}
	for i := range n {
		step := min(len(b), mm.PageSize-int(pages[i].Offset()))
		var err error
		if out {
			err = v.Domain.Space.WritePhys(pages[i], b[:step])
		} else {
			err = v.Domain.Space.ReadPhys(pages[i], b[:step])
		}
		if err != nil {
			return false // the walk finds the same, and says so
		}
		b = b[step:]
	}
	return true
}

// framePV is the machine address of a guest's address, if the code that runs may access it.
func (v *VCPU) framePV(a mm.GuestVirt, write bool) (mm.GuestPhys, bool) {
	m, ok := v.MMU.Translate(!v.PV.UserMode, a)
	if !ok || write && !m.Write {
		return 0, false
	}
	// A 32-bit kernel, in ring 1, needs no right of a user's.
	if !m.User && (v.PV.Width == xenabi.Guest64 || v.CPL() == 3) {
		return 0, false
	}
	return mm.GFN(m.Frame).Addr() + mm.GuestPhys(a&mm.PageMask), true
}
