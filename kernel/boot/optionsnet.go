package boot

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
)

// IPMode is how the host gets its address.
type IPMode uint8

// The ways.
const (
	IPDHCP IPMode = iota
	IPStatic
	IPOff
)

// Forward is a TCP port of the host's that is passed on to a guest.
type Forward struct {
	Port  uint16
	Guest string // its name or address
	To    uint16 // the guest's port
}

// NetOptions are the words about the host's own network (docs/hostnet.md).
type NetOptions struct {
	// Uplink is the network card that the host and the bridge xenbr0 use (uplink=): "" is
	// the first, "none" is none.
	Uplink string
	// IP is how the host gets its address (ip=); the next three are for IPStatic.
	IP      IPMode
	Address netip.Prefix
	Gateway netip.Addr
	DNS     []netip.Addr
	// NAT is the gateway's address in the guests' network nat (nat=); invalid: there is no
	// such network.
	NAT netip.Prefix
	// NATAllow are the host's own ports that its guests reach (nat-allow=).
	NATAllow []uint16
	// NATForward are ports that guests have on the host's address (nat-forward=).
	NATForward []Forward
	// NTP are the servers of the time (ntp=); none: those that DHCP names. NoNTP: none.
	NTP   []string
	NoNTP bool
	// SpeedPort is the TCP port where the network's speed is measured (speed=), 0 for none.
	SpeedPort int
	// MetricsPort is the TCP port of the metrics (metrics=), 0 for none.
	MetricsPort int
}

// defaultNAT is where guests' network nat is if nothing else is said.
var defaultNAT = netip.MustParsePrefix("10.77.0.1/24")

// assign reads the value of a word; it changes nothing on an error.
func (o *NetOptions) assign(key, value string) (known bool, err error) {
	switch key {
	case "uplink":
		err = setTo(&o.Uplink)(parseCard(value))
	case "ip":
		n := *o
		if err = n.parseIP(value); err == nil {
			*o = n
		}
	case "nat":
		err = setTo(&o.NAT)(parseNAT(value))
	case "nat-allow":
		err = setTo(&o.NATAllow)(parseList(value, parsePort))
	case "nat-forward":
		err = setTo(&o.NATForward)(parseList(value, parseForward))
	case "ntp":
		if value == "off" {
			o.NTP, o.NoNTP = nil, true
			break
		}
		if err = setTo(&o.NTP)(parseList(value, parseHost)); err == nil {
			o.NoNTP = false
		}
	case "metrics":
		err = setTo(&o.MetricsPort)(parseCount(value, 1, math.MaxUint16))
	case "speed":
		err = setTo(&o.SpeedPort)(parseCount(value, 1, math.MaxUint16))
	default:
		return false, nil
	}
	return true, err
}

// parseList reads what commas are between.
func parseList[T any](value string, parse func(string) (T, error)) (out []T, err error) {
	for s := range strings.SplitSeq(value, ",") {
		v, err := parse(s)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func parsePort(s string) (uint16, error) {
	n, err := parseCount(s, 1, math.MaxUint16)
	return uint16(n), err
}

// parseHost reads a name or an address.
func parseHost(s string) (string, error) {
	if s == "" || len(s) > 253 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") != "" {
		return "", fmt.Errorf("%q is no host's name or address", s)
	}
	return s, nil
}

// parseCard reads a network card's name.
func parseCard(s string) (string, error) {
	if s == "" || len(s) > 15 || strings.ContainsAny(s, " /,") {
		return "", fmt.Errorf("%q is no network card, like eth0, nor none", s)
	}
	return s, nil
}

// parseForward reads tcp:PORT:GUEST:PORT.
func parseForward(s string) (f Forward, err error) {
	p := strings.Split(s, ":")
	if len(p) != 4 || p[0] != "tcp" {
		return f, fmt.Errorf("%q is not tcp:PORT:GUEST:PORT", s)
	}
	if f.Port, err = parsePort(p[1]); err != nil {
		return f, err
	}
	if f.Guest, err = parseHost(p[2]); err != nil {
		return f, err
	}
	f.To, err = parsePort(p[3])
	return f, err
}

// parseIPv4 reads an address that a host can have.
func parseIPv4(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() || !a.IsGlobalUnicast() {
		return a, fmt.Errorf("%q is no IPv4 address of a host", s)
	}
	return a, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Bits() == 0 {
		return p, fmt.Errorf("%q is no IPv4 address with the bits of its network, like 10.0.2.15/24", s)
	}
	_, err = parseIPv4(p.Addr().String())
	return p, err
}

// parseNAT reads the gateway's address of a network that has room for guests, or off.
func parseNAT(s string) (netip.Prefix, error) {
	if s == "off" {
		return netip.Prefix{}, nil
	}
	p, err := parsePrefix(s)
	if err != nil {
		return p, err
	}
	if p.Bits() < 8 || p.Bits() > 29 || p.Addr() == p.Masked().Addr() {
		return p, fmt.Errorf("%q is no gateway's address in a network of /8 to /29, like %v", s, defaultNAT)
	}
	return p, nil
}

// parseIP reads dhcp, off, or ADDRESS/BITS[,gw=ADDRESS][,dns=ADDRESS]...
func (o *NetOptions) parseIP(s string) (err error) {
	o.Address, o.Gateway, o.DNS = netip.Prefix{}, netip.Addr{}, nil
	switch s {
	case "dhcp":
		o.IP = IPDHCP
		return nil
	case "off":
		o.IP = IPOff
		return nil
	}
	parts := strings.Split(s, ",")
	o.IP = IPStatic
	if o.Address, err = parsePrefix(parts[0]); err != nil {
		return fmt.Errorf("%w; or dhcp, or off", err)
	}
	for _, p := range parts[1:] {
		key, value, _ := strings.Cut(p, "=")
		a, err := parseIPv4(value)
		switch {
		case err != nil:
			return err
		case key == "gw" && !o.Address.Contains(a):
			return fmt.Errorf("the gateway %v is not in the network of %v", a, o.Address)
		case key == "gw":
			o.Gateway = a
		case key == "dns" && len(o.DNS) < 4:
			o.DNS = append(o.DNS, a)
		case key == "dns":
			return errors.New("four DNS servers are the most")
		default:
			return fmt.Errorf("%q is neither gw= nor dns=", p)
		}
	}
	return nil
}
