package bridge

// MaxVLAN is the largest number of a VLAN (IEEE 802.1Q). In a bridge, 0 is the network of
// frames without a tag.
const MaxVLAN = 4094

// Set is a set of VLANs.
type Set [(MaxVLAN + 64) / 64]uint64

// Add adds a VLAN, of 0 to MaxVLAN.
func (s *Set) Add(vlan int) { s[vlan/64] |= 1 << (vlan % 64) }

// Has tells whether vlan is in the set.
func (s *Set) Has(vlan int) bool { return vlan <= MaxVLAN && s[vlan/64]>>(vlan%64)&1 != 0 }

// VLANs are those of a port. Zero: the untagged network alone.
type VLANs struct {
	// PVID is the network of frames that come without a tag.
	PVID int
	// NoPVID: frames without a tag are dropped.
	NoPVID bool
	// Tagged and Untagged are further networks that frames with a tag may come from; those
	// of Untagged, and of PVID, go out without one.
	Tagged, Untagged *Set
}

// Trunk are the VLANs of a port that takes part in all, as a wire to another switch does.
func Trunk() VLANs {
	s := new(Set)
	for v := 1; v <= MaxVLAN; v++ {
		s.Add(v)
	}
	return VLANs{Tagged: s}
}

// in returns the network that a frame belongs to; ok is false if it may not come in. tag
// is 0 for a frame that has none, or one with a priority only.
func (v *VLANs) in(tag int) (vlan int, ok bool) {
	if tag == 0 {
		return v.PVID, !v.NoPVID
	}
	return tag, v.member(tag)
}

// member tells whether the port takes part in a network.
func (v *VLANs) member(vlan int) bool {
	return vlan == v.PVID && !v.NoPVID || v.Tagged != nil && v.Tagged.Has(vlan) || v.Untagged != nil && v.Untagged.Has(vlan)
}

// out returns the tag of frames of a network that the port takes part in; 0: none.
func (v *VLANs) out(vlan int) int {
	if vlan == v.PVID && !v.NoPVID || v.Untagged != nil && v.Untagged.Has(vlan) {
		return 0
	}
	return vlan
}
