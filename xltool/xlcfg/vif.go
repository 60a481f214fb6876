package xlcfg

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// MAC is an Ethernet address; all zeros means: make one.
type MAC [6]byte

// String gives six pairs of digits with colons.
func (m MAC) String() string {
	var b []byte
	for i, x := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, "0123456789abcdef"[x>>4], "0123456789abcdef"[x&15])
	}
	return string(b)
}

// MarshalText is String.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// VIF is a virtual network interface's specification
// (xl-network-configuration(5)).
type VIF struct {
	MAC MAC `json:"mac"`
	// Bridge is the bridge to join, "" the default one; VLANs are those that vlan=, or what
	// follows the bridge's name, asks for. GatewayDev is what vif-route uses.
	Bridge     string `json:"bridge,omitempty"`
	VLANs      *VLANs `json:"vlan,omitempty"`
	GatewayDev string `json:"gatewaydev,omitempty"`
	// Type is vif (paravirtual alone), ioemu (emulated too), or "": as the
	// domain's type wants. Model is what is emulated.
	Type  string `json:"type,omitempty"`
	Model string `json:"model,omitempty"`
	// VIFName is the interface's name in the backend's domain.
	VIFName string `json:"vifname,omitempty"`
	Script  string `json:"script,omitempty"`
	// IP are addresses that the script may use.
	IP      []netip.Prefix `json:"ip,omitempty"`
	Backend string         `json:"backend,omitempty"`
	// Rate limits what the guest sends; zero is no limit.
	Rate Rate `json:"rate,omitzero"`
	// DevID is its number, -1 the lowest free one.
	DevID int `json:"devid"`
	// MTU in bytes; 0 is the bridge's, or 1500.
	MTU       int  `json:"mtu,omitempty"`
	Untrusted bool `json:"untrusted,omitempty"`
	// AntiSpoof drops what the guest sends from another address than MAC. It is Nidus' own.
	AntiSpoof bool `json:"antispoof,omitempty"`
}

// Rate allows Bytes in each Interval.
type Rate struct {
	Bytes    uint64        `json:"bytes"`
	Interval time.Duration `json:"interval_ns"`
}

var vifKeys = []string{"mac", "bridge", "gatewaydev", "type", "model", "vifname", "script", "ip", "backend", "rate", "devid", "mtu", "trusted", "untrusted", "vlan", "antispoof"}

// ParseVIF reads one element of vif=; an empty one is an interface with
// defaults. A non-nil error is a *SpecError.
func ParseVIF(spec string) (VIF, error) {
	v := VIF{DevID: -1}
	seen := map[string]bool{}
	for _, p := range params(spec, "") {
		switch {
		case p.key == "" && p.text == "":
			continue
		case p.key == "" && (p.text == "trusted" || p.text == "untrusted"):
			v.Untrusted = p.text == "untrusted"
			continue
		case p.key == "":
			if _, err := parseMAC(p); err == nil {
				return v, specErrorf(p.off, "%q looks like an address; write mac=%s", p.text, p.text)
			}
			return v, specErrorf(p.off, "%q has no =; parts are key=value, such as bridge=xenbr0", shorten(p.text))
		case seen[p.key]:
			return v, specErrorf(p.start, "%s is there twice; remove one", p.key)
		}
		seen[p.key] = true
		if err := v.set(p); err != nil {
			return v, err
		}
	}
	if v.Type == "vif" && v.Model != "" {
		return v, specErrorf(0, "model=%s is of an emulated interface, and type=vif asks for none; remove one", shorten(v.Model))
	}
	return v, nil
}

func (v *VIF) set(p param) (err error) {
	if p.text == "" {
		return specErrorf(p.start, "%s= has no value; write one, or remove it", p.key)
	}
	switch p.key {
	case "mac":
		v.MAC, err = parseMAC(p)
	case "bridge":
		var vlans *VLANs
		if v.Bridge, vlans, err = parseBridge(p); err == nil && vlans != nil {
			if v.VLANs != nil {
				return specErrorf(p.start, "VLANs are there twice, in bridge= and vlan=; remove one")
			}
			v.VLANs = vlans
		}
	case "vlan":
		if v.VLANs != nil {
			return specErrorf(p.start, "VLANs are there twice, in bridge= and vlan=; remove one")
		}
		v.VLANs, err = parseVLANs(p)
	case "antispoof":
		v.AntiSpoof, err = p.flag()
	case "trusted":
		var t bool
		t, err = p.flag()
		v.Untrusted = !t
	case "untrusted":
		v.Untrusted, err = p.flag()
	case "gatewaydev", "netdev":
		v.GatewayDev = p.text
	case "type":
		v.Type, err = p.word([]string{"vif", "ioemu"})
	case "model":
		v.Model = p.text
	case "vifname":
		v.VIFName = p.text
		if len(v.VIFName) > 15 || strings.ContainsAny(v.VIFName, "/ \t") {
			err = specErrorf(p.off, "vifname=%q can't be an interface's name: at most 15 characters, no blank and no /", shorten(p.text))
		}
	case "script":
		v.Script = p.text
	case "ip":
		v.IP, err = parseIPs(p)
	case "backend":
		v.Backend = p.text
	case "rate":
		v.Rate, err = parseRate(p)
	case "devid":
		v.DevID, err = p.number(1<<16 - 1)
	case "mtu":
		if v.MTU, err = p.number(65535); err == nil && v.MTU < 68 {
			err = specErrorf(p.off, "mtu=%d is less than the 68 bytes that IP needs", v.MTU)
		}
	case "accel":
		err = specErrorf(p.start, "accel was of Solarflare's cards and means nothing any more; remove it")
	default:
		err = p.badKey("vif", vifKeys)
	}
	return err
}

// parseMAC reads six pairs of hexadecimal digits with colons.
func parseMAC(p param) (m MAC, err error) {
	parts := strings.Split(p.text, ":")
	for i, s := range parts {
		n, err := strconv.ParseUint(s, 16, 8)
		if len(parts) != len(m) || err != nil || len(s) > 2 {
			return m, specErrorf(p.off, "mac=%q is not an Ethernet address; it looks like 00:16:3e:12:34:56", shorten(p.text))
		}
		m[i] = byte(n)
	}
	if m[0]&1 != 0 {
		return m, specErrorf(p.off, "mac=%s is a group's address; an interface's has an even first byte, such as 00:16:3e:12:34:56", p.text)
	}
	return m, nil
}

func parseIPs(p param) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range strings.Fields(p.text) {
		pre, err := netip.ParsePrefix(s)
		if err != nil {
			a, err := netip.ParseAddr(s)
			if err != nil || a.Zone() != "" {
				return nil, specErrorf(p.off, "ip=%q is not an address; it looks like 192.168.1.5, 192.168.1.5/24 or fd00::5", shorten(s))
			}
			pre = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, pre)
	}
	return out, nil
}

// parseRate reads RATE[@INTERVAL]: 10Mb/s, 250KB/s, 1MB/s@20ms.
func parseRate(p param) (r Rate, err error) {
	bad := specErrorf(p.off, "rate=%q is not a rate; it looks like 10Mb/s (bits), 250KB/s (bytes) or 1MB/s@20ms", shorten(p.text))
	rate, interval, timed := strings.Cut(p.text, "@")
	r.Interval = 50 * time.Millisecond
	if timed {
		for _, u := range [...]string{"ms", "us", "s"} {
			if strings.HasSuffix(interval, u) {
				break
			}
			if u == "s" {
				interval += "us"
			}
		}
		if r.Interval, err = time.ParseDuration(interval); err != nil || !isDigit(interval[0]) || r.Interval < time.Microsecond || r.Interval > time.Hour {
			return r, bad
		}
	}
	digits, ok := strings.CutSuffix(rate, "/s")
	if !ok || len(digits) < 2 {
		return r, bad
	}
	div := uint64(1)
	switch digits[len(digits)-1] {
	case 'b':
		div = 8
	case 'B':
	default:
		return r, bad
	}
	digits = digits[:len(digits)-1]
	mul := uint64(1)
	if i := strings.IndexByte("KMG", digits[len(digits)-1]); i >= 0 {
		mul = [...]uint64{1e3, 1e6, 1e9}[i]
		digits = digits[:len(digits)-1]
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return r, bad
	}
	// Both are exact in a float: n*mul is below 2^62, and only the result counts.
	credit := float64(n*mul/div) * r.Interval.Seconds()
	if credit < 1 || credit > math.MaxUint32 {
		return r, specErrorf(p.off, "rate=%s allows %.0f bytes in each %v; choose an interval in which it is 1 to %d", shorten(p.text), credit, r.Interval, uint32(math.MaxUint32))
	}
	r.Bytes = uint64(math.Round(credit))
	return r, nil
}
