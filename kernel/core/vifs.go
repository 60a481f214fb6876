package core

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"nidus/drivers/backend"
	"nidus/drivers/link"
	"nidus/drivers/link/bridge"
	"nidus/drivers/netback"
	"nidus/kernel/console"
	"nidus/rpc/control"
)

// VIFSpec is an element of vif= (xl-network-configuration(5)), as far as it matters here.
type VIFSpec struct {
	Text   string // as written
	MAC    link.MAC
	Bridge string // "": the default one
	VLANs  bridge.VLANs
	Guard  bridge.Guard
	Rate   netback.Rate
	MTU    int // 0: the default
	ID     int // -1: the lowest that is free
	Name   string
	Script string
	IP     string // as the node has it
	// Untrusted tells the guest not to trust its backend.
	Untrusted bool
	// Missing is what it asks for that can't be had here; "" if nothing.
	Missing string
}

const (
	// maxVIFs bounds a domain's interfaces.
	maxVIFs = 16
	// defaultMTU is Ethernet's.
	defaultMTU = 1500
)

// vif is an interface that a domain has.
type vif struct {
	spec   VIFSpec
	port   *netback.Interface
	member *bridge.Member
	dev    *backend.Device
	left   func() // of Core.VIFJoins; may be nil
}

// vifs are those of a domain.
type vifs struct{ devices[*vif] }

// parseVIF parses an element of vif= and refuses what can't be had.
func (c *Core) parseVIF(text string) (VIFSpec, error) {
	if c.ParseVIF == nil {
		return VIFSpec{}, control.Errorf(control.ErrNotYet, "vif: this host serves no interfaces")
	}
	s, err := c.ParseVIF(text)
	switch {
	case err != nil:
		return s, control.Errorf(control.ErrBadConfig, "vif '%s': %v", text, err)
	case s.Missing != "":
		return s, control.Errorf(control.ErrNotYet, "vif '%s': %s", text, s.Missing)
	}
	if s.Bridge == "" {
		s.Bridge = DefaultBridge
	}
	if s.MTU == 0 {
		s.MTU = defaultMTU
	}
	return s, nil
}

// named returns an element of vif= with an address, which is made up if it has none: a
// restart of the domain is to have the same.
func (c *Core) named(text string) (string, error) {
	s, err := c.parseVIF(text)
	if err != nil || s.MAC != (link.MAC{}) {
		return text, err
	}
	m := link.MAC{0x00, 0x16, 0x3e} // Xen's
	rand.Read(m[3:])
	m[3] &= 0x7f // as libxl: the upper half is for those that are given out by hand
	if strings.TrimSpace(text) == "" {
		return "mac=" + m.String(), nil
	}
	return "mac=" + m.String() + "," + text, nil
}

// checkVIFs refuses what can't work, and gives interfaces without an address one.
func (c *Core) checkVIFs(cfg *control.DomainConfig) error {
	if len(cfg.VIFs) > maxVIFs {
		return control.Errorf(control.ErrBadConfig, "%d interfaces: %d are the most that a domain can have", len(cfg.VIFs), maxVIFs)
	}
	list := slices.Clone(cfg.VIFs)
	for i, text := range list {
		var err error
		if list[i], err = c.named(text); err != nil {
			return err
		}
	}
	cfg.VIFs = list
	return nil
}

// attachVIFs gives a domain that was just built its interfaces. What it began, the
// domain's Destroy ends.
func (c *Core) attachVIFs(e *Entry) error {
	for _, text := range e.config.VIFs {
		if _, err := c.attachVIF(e, text); err != nil {
			return err
		}
	}
	return nil
}

// attachVIF gives a domain one more interface.
func (c *Core) attachVIF(e *Entry, text string) (*vif, error) {
	text, err := c.named(text)
	if err != nil {
		return nil, err
	}
	s, err := c.parseVIF(text)
	if err != nil {
		return nil, err
	}
	l := &e.vifs
	l.changing.Lock()
	defer l.changing.Unlock()
	if err := l.room(e, maxVIFs, "vif '"+text+"'", "interfaces"); err != nil {
		return nil, err
	}
	taken := func(id int) bool { return slices.ContainsFunc(l.all, func(o *vif) bool { return o.spec.ID == id }) }
	switch {
	case s.ID >= 0 && taken(s.ID):
		return nil, control.Errorf(control.ErrExists, "vif '%s': the domain has an interface %d already", text, s.ID)
	case s.ID < 0:
		for s.ID = 0; taken(s.ID); {
			s.ID++
		}
	}
	for _, o := range l.all {
		if o.spec.MAC == s.MAC {
			return nil, control.Errorf(control.ErrExists, "vif '%s': the domain's interface %d has this address already", text, o.spec.ID)
		}
	}
	if s.Name == "" {
		s.Name = fmt.Sprintf("vif%d.%d", e.ID, s.ID)
	}
	v, err := c.serveVIF(e, s)
	if err != nil {
		return nil, err
	}
	l.add(v)
	c.Host.Log.Printf(console.LevelInfo, "d%d: interface %d (%s) is on bridge %s as %s", e.ID, s.ID, s.MAC, s.Bridge, s.Name)
	return v, nil
}

// backMAC is the address of the host's end.
func backMAC(guest link.MAC) link.MAC {
	guest[3] ^= 1
	return guest
}

// serveVIF makes the interface, joins it to its bridge, and starts the backend.
func (c *Core) serveVIF(e *Entry, s VIFSpec) (*vif, error) {
	b, made, err := c.Bridge(s.Bridge)
	if err != nil {
		return nil, err
	}
	if made && s.Bridge != DefaultBridge {
		c.Host.Log.Printf(console.LevelInfo, "bridge %s is made: no card of the host is on it", s.Bridge)
	}
	guest := &backend.Guest{ID: e.ID, Grants: e.Grants, Space: e.Space, Local: c.Host.Dom0}
	v := &vif{}
	if c.VIFJoins != nil {
		v.left = c.VIFJoins(&s, e.Name)
	}
	v.spec = s
	v.port = netback.New(netback.Config{Guest: guest, Memory: c.Host.Memory, Name: s.Name, MAC: backMAC(s.MAC), MTU: s.MTU, Rate: s.Rate})
	v.member, err = b.Join(v.port, bridge.Config{VLANs: s.VLANs, MAC: s.MAC, Guard: s.Guard})
	if err != nil {
		v.gone()
		return nil, control.Errorf(control.ErrNoMemory, "vif '%s': %v", s.Text, err)
	}
	v.dev, err = backend.New(backend.Config{
		Guest: guest, Store: c.Host.Store, Kind: "vif", ID: uint32(s.ID), Driver: v.port,
		Log:   func(format string, args ...any) { c.Host.Log.Printf(console.LevelWarning, format, args...) },
		Front: s.frontNodes(), Back: s.backNodes(),
	})
	if err != nil {
		v.member.Leave()
		v.gone()
		return nil, errors.Join(err, v.port.Close())
	}
	return v, nil
}

func (s *VIFSpec) frontNodes() []backend.Node {
	return []backend.Node{
		backend.Num("handle", s.ID), {Name: "mac", Value: s.MAC.String()}, backend.Num("mtu", s.MTU), backend.Flag("trusted", !s.Untrusted),
	}
}

func (s *VIFSpec) backNodes() []backend.Node {
	n := []backend.Node{
		backend.Num("handle", s.ID), {Name: "mac", Value: s.MAC.String()}, {Name: "bridge", Value: s.Bridge}, {Name: "type", Value: "vif"},
		{Name: "vifname", Value: s.Name}, backend.Num("mtu", s.MTU), {Name: "script", Value: s.Script},
	}
	if s.IP != "" {
		n = append(n, backend.Node{Name: "ip", Value: s.IP})
	}
	if s.Rate != (netback.Rate{}) {
		n = append(n, backend.Node{Name: "rate", Value: fmt.Sprintf("%d,%d", s.Rate.Bytes, s.Rate.Interval.Microseconds())})
	}
	return n
}

// close ends an interface: first what the guest sends, then what others send to it.
func (v *vif) close() {
	v.dev.Close()
	v.member.Leave()
	_ = v.port.Close() // never fails
	v.gone()
}

// gone tells who was told that the interface joins its bridge.
func (v *vif) gone() {
	if v.left != nil {
		v.left()
	}
}

func (v *vif) info() control.DeviceInfo {
	return control.DeviceInfo{Kind: control.DeviceNetwork, DevID: v.spec.ID, Name: fmt.Sprintf("vif%d", v.spec.ID), Spec: v.spec.Text, State: int(v.dev.State())}
}

func (v *vif) backend() *backend.Device { return v.dev }

func (v *vif) held() string {
	return fmt.Sprintf("interface %d: the guest has not let go of it", v.spec.ID)
}

// VIFs describes a domain's interfaces.
func (e *Entry) VIFs() []control.DeviceInfo { return e.vifs.infos() }

// AttachVIF gives a domain that runs one more interface; spec is an element of vif=.
func (c *Core) AttachVIF(e *Entry, spec string) (control.DeviceInfo, error) {
	v, err := c.attachVIF(e, spec)
	if err != nil {
		return control.DeviceInfo{}, err
	}
	return v.info(), nil
}

// DetachVIF takes an interface from a domain, by number or address: once the guest has let
// go of it, which it need not, or at once if force is set.
func (c *Core) DetachVIF(ctx context.Context, e *Entry, ref string, force bool) error {
	return e.vifs.detach(ctx, func() (*vif, error) { return e.vifs.find(e, ref) }, force)
}

// find returns the interface of a number, an address or a name. mu or changing is held.
func (l *vifs) find(e *Entry, ref string) (*vif, error) {
	i := slices.IndexFunc(l.all, func(v *vif) bool {
		return strconv.Itoa(v.spec.ID) == ref || strings.EqualFold(v.spec.MAC.String(), ref) || v.info().Name == ref
	})
	if i < 0 {
		return nil, control.Errorf(control.ErrNoDevice, "domain %d has no interface %s; \"network-list\" shows its interfaces", e.ID, ref)
	}
	return l.all[i], nil
}
