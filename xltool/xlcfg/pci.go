package xlcfg

import (
	"fmt"
	"strconv"
	"strings"
)

// PCI is a device to pass to a guest (xl-pci-configuration(5)).
type PCI struct {
	Domain   uint16 `json:"domain"`
	Bus      uint8  `json:"bus"`
	Device   uint8  `json:"device"`
	Function uint8  `json:"function"`
	// AllFunctions is the function *.
	AllFunctions bool `json:"all_functions,omitempty"`
	// Name is an assignable device's name; then there is no address.
	Name string `json:"name,omitempty"`
	// VSlot is the device's number in the guest, -1 any.
	VSlot int `json:"vslot"`
	// Permissive, MSITranslate, PowerMgmt and Seize are flags.
	Permissive   bool `json:"permissive,omitempty"`
	MSITranslate bool `json:"msitranslate,omitempty"`
	PowerMgmt    bool `json:"power_mgmt,omitempty"`
	Seize        bool `json:"seize,omitempty"`
	// RDMPolicy is strict, relaxed or "".
	RDMPolicy string `json:"rdm_policy,omitempty"`
}

// BDF is the device's address, DDDD:BB:DD.F.
func (d PCI) BDF() string {
	f := strconv.Itoa(int(d.Function))
	if d.AllFunctions {
		f = "*"
	}
	return fmt.Sprintf("%04x:%02x:%02x.%s", d.Domain, d.Bus, d.Device, f)
}

var pciKeys = []string{"bdf", "name", "vslot", "permissive", "msitranslate", "power_mgmt", "seize", "rdm_policy"}

// ParsePCI reads one element of pci=. A non-nil error is a *SpecError.
func ParsePCI(spec string) (PCI, error) {
	d := PCI{VSlot: -1}
	seen := map[string]bool{}
	for i, p := range params(spec, "") {
		switch {
		case p.key == "" && p.text == "" && i > 0:
			continue
		case p.key == "" && i > 0:
			return d, specErrorf(p.off, "%q has no =; behind the address, parts are key=value, such as permissive=1", shorten(p.text))
		case p.key == "":
			p.key = "bdf"
			if bdf, slot, ok := strings.Cut(p.text, "@"); ok {
				q := p
				q.key, q.text, q.off = "vslot", slot, p.off+len(bdf)+1
				if err := d.set(q); err != nil {
					return d, err
				}
				seen["vslot"] = true
				p.text = bdf
			}
		}
		if seen[p.key] {
			return d, specErrorf(p.start, "%s is there twice; remove one", p.key)
		}
		seen[p.key] = true
		if err := d.set(p); err != nil {
			return d, err
		}
	}
	if seen["bdf"] == seen["name"] {
		return d, specErrorf(0, "either an address, such as 00:06.0, or name= has to say which device")
	}
	return d, nil
}

func (d *PCI) set(p param) (err error) {
	switch p.key {
	case "bdf":
		err = d.bdf(p)
	case "name":
		if d.Name = p.text; p.text == "" {
			err = specErrorf(p.start, "name= is empty")
		}
	case "vslot":
		n, perr := strconv.ParseUint(strings.TrimPrefix(p.text, "0x"), 16, 8)
		if perr != nil || n > 31 {
			err = specErrorf(p.off, "vslot=%q is not a device's number; use 0 to 1f, which is hexadecimal", shorten(p.text))
		}
		d.VSlot = int(n)
	case "permissive":
		d.Permissive, err = p.flag()
	case "msitranslate":
		d.MSITranslate, err = p.flag()
	case "power_mgmt":
		d.PowerMgmt, err = p.flag()
	case "seize":
		d.Seize, err = p.flag()
	case "rdm_policy":
		d.RDMPolicy, err = p.word([]string{"strict", "relaxed"})
	default:
		err = p.badKey("pci", pciKeys)
	}
	return err
}

// bdf reads [DDDD:]BB:DD.F, hexadecimal.
func (d *PCI) bdf(p param) error {
	bad := specErrorf(p.off, "%q is not a PCI address; it looks like 00:06.0 or 0000:00:06.0, as lspci prints it", shorten(p.text))
	rest, fn, ok := strings.Cut(p.text, ".")
	parts := strings.Split(rest, ":")
	if !ok || len(parts) < 2 || len(parts) > 3 {
		return bad
	}
	if len(parts) == 2 {
		parts = append([]string{"0"}, parts...)
	}
	var n [3]uint64
	for i, bits := range [...]int{16, 8, 5} {
		var err error
		if n[i], err = strconv.ParseUint(parts[i], 16, bits); err != nil {
			return bad
		}
	}
	d.Domain, d.Bus, d.Device = uint16(n[0]), uint8(n[1]), uint8(n[2])
	if d.AllFunctions = fn == "*"; d.AllFunctions {
		return nil
	}
	f, err := strconv.ParseUint(fn, 8, 3)
	if err != nil {
		return bad
	}
	d.Function = uint8(f)
	return nil
}
