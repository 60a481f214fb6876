package domain

import (
	"nidus/kernel/gnttab"
	"nidus/mm"
	"nidus/mm/pvmmu"
)

// Grants of a PV guest go to entries of its page tables (grant_table.h,
// GNTMAP_contains_pte).

var _ gnttab.Entries = (*VCPU)(nil)

// Bits of an L1 entry (APM vol. 2, 5.4). A granted page is not executed.
const (
	grantBits       = 1<<0 | 1<<5 | 1<<6 | 1<<63 // present, accessed, dirty, no-execute
	grantWrite      = 1 << 1
	grantAvail      = 7
	grantAvailShift = 9
)

// MapGrant implements gnttab.Entries.
func (v *VCPU) MapGrant(at uint64, pte bool, m mm.MFN, owner mm.DomID, write bool, avail uint32) (entry uint64, err error) {
	if !pte {
		var ok bool
		if at, ok = v.MMU.EntryAddress(mm.GuestVirt(at)); !ok {
			return 0, mm.ErrBadAddress
		}
	}
	e := uint64(m)<<mm.PageShift | grantBits | uint64(avail&grantAvail)<<grantAvailShift
	if write {
		e |= grantWrite
	}
	return at, v.MMU.MapForeign(at, e, owner)
}

// GrantEntry implements gnttab.Entries.
func (v *VCPU) GrantEntry(at mm.GuestVirt) (entry uint64, ok bool) { return v.MMU.EntryAddress(at) }

// UnmapGrant implements gnttab.Entries.
func (v *VCPU) UnmapGrant(entry uint64, m mm.MFN) error {
	if m == mm.InvalidMFN {
		return v.MMU.DropForeign(entry)
	}
	// Anything else that is there now is the guest's, and stays.
	switch err := v.MMU.UnmapForeign(entry, 0, m); err {
	case pvmmu.ErrState, pvmmu.ErrType, pvmmu.ErrFrame:
		return nil
	default:
		return err
	}
}

// ReplaceGrant implements gnttab.Entries.
func (v *VCPU) ReplaceGrant(entry uint64, m mm.MFN, from mm.GuestVirt) error {
	return v.MMU.ReplaceForeign(entry, m, from)
}
