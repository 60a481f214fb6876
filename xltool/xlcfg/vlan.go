package xlcfg

import (
	"strconv"
	"strings"
)

// VLANs are the networks of an interface (IEEE 802.1Q); nil: the bridge's own alone,
// whose frames have no tag.
type VLANs struct {
	// PVID is the network of frames without a tag; 0: such frames are dropped.
	PVID int `json:"pvid,omitempty"`
	// Tagged networks go out with their tag, Untagged ones, PVID too, without.
	Tagged   []int `json:"tagged,omitempty"`
	Untagged []int `json:"untagged,omitempty"`
}

const maxVLAN = 4094

// parseVLANs reads TERM[/TERM...] (xl-network-configuration(5) of Xen 4.19 and later): 10,
// 10-20 and 10+5x3 (10, 15, 20), with p (of one) for the network of untagged frames, or u for
// those that go out without a tag.
func parseVLANs(p param) (*VLANs, error) {
	v := &VLANs{}
	seen := map[int]bool{}
	for term := range strings.SplitSeq(p.text, "/") {
		bad := func(why string) error {
			return specErrorf(p.off, "vlan=%s: %q %s; terms look like 10p, 20, 30u, 100-199 or 10+5x3", shorten(p.text), shorten(term), why)
		}
		digits := strings.TrimRight(term, "pu")
		flag := term[len(digits):]
		if len(flag) > 1 {
			return nil, bad("has several letters")
		}
		first, last, step, err := parseVLANTerm(digits)
		switch {
		case err != nil:
			return nil, bad("is not a VLAN")
		case first < 1 || last > maxVLAN || last < first:
			return nil, bad("is not of 1 to 4094")
		case flag == "p" && (first != last || v.PVID != 0):
			return nil, bad("would be a second VLAN for untagged frames")
		}
		for n := first; n <= last; n += step {
			if seen[n] {
				return nil, bad("is there twice")
			}
			seen[n] = true
			switch flag {
			case "p":
				v.PVID = n
			case "u":
				v.Untagged = append(v.Untagged, n)
			default:
				v.Tagged = append(v.Tagged, n)
			}
		}
	}
	return v, nil
}

// parseVLANTerm reads N, N-M or N+STEPxCOUNT.
func parseVLANTerm(s string) (first, last, step int, err error) {
	number := func(s string) (n int) {
		u, e := strconv.ParseUint(s, 10, 16)
		if e != nil {
			err = e
		}
		return int(u)
	}
	if a, b, ok := strings.Cut(s, "-"); ok {
		return number(a), number(b), 1, err
	}
	a, rest, ok := strings.Cut(s, "+")
	first = number(a)
	if !ok {
		return first, first, 1, err
	}
	by, count, _ := strings.Cut(rest, "x")
	step = number(by)
	n := number(count)
	if err == nil && (step == 0 || n == 0) {
		err = strconv.ErrRange
	}
	return first, first + step*(n-1), max(step, 1), err
}

// parseBridge reads NAME[.VLAN][:TRUNK...], as the hotplug script vif-openvswitch does: a
// network for untagged frames, and those that have tags.
func parseBridge(p param) (name string, v *VLANs, err error) {
	bad := specErrorf(p.off, "bridge=%q is not NAME, NAME.VLAN or NAME:VLAN:VLAN with VLANs of 1 to %d and a name of at most 15 letters, digits, - and _", shorten(p.text), maxVLAN)
	parts := strings.Split(p.text, ":")
	name, access, tagged := strings.Cut(parts[0], ".")
	number := func(s string) int {
		n, e := strconv.ParseUint(s, 10, 16)
		if e != nil || n < 1 || n > maxVLAN {
			err = bad
		}
		return int(n)
	}
	for i := range len(name) {
		if c := name[i]; !isIdentStart(c) && !isDigit(c) && c != '-' {
			err = bad
		}
	}
	if name == "" || len(name) > 15 {
		err = bad
	}
	if tagged || len(parts) > 1 {
		v = &VLANs{}
	}
	if tagged {
		v.PVID = number(access)
	}
	for _, s := range parts[1:] {
		v.Tagged = append(v.Tagged, number(s))
	}
	return name, v, err
}
