//go:build tamago

package main

import (
	"fmt"
	"strings"

	"nidus/drivers/link"
	"nidus/drivers/link/bridge"
	"nidus/drivers/netback"
	"nidus/kernel/core"
	"nidus/xltool/xlcfg"
)

// parseVIF is the core's ParseVIF.
func parseVIF(text string) (core.VIFSpec, error) {
	v, err := xlcfg.ParseVIF(text)
	if err != nil {
		return core.VIFSpec{}, err
	}
	s := core.VIFSpec{
		Text: text, MAC: link.MAC(v.MAC), Bridge: v.Bridge, Rate: netback.Rate(v.Rate), MTU: v.MTU, ID: v.DevID, Name: v.VIFName,
		Script: v.Script, Untrusted: v.Untrusted,
	}
	if v.Backend != "" && v.Backend != "0" && v.Backend != "Domain-0" {
		s.Missing = fmt.Sprintf("no other domain than 0 can be a backend; remove backend=%s", v.Backend)
	}
	s.Guard.MAC = v.AntiSpoof
	var ips []string
	for _, p := range v.IP {
		s.Guard.IPs = append(s.Guard.IPs, p)
		ips = append(ips, p.String())
	}
	s.IP = strings.Join(ips, " ")
	if v.VLANs != nil {
		s.VLANs = vlans(v.VLANs)
	}
	return s, nil
}

// vlans makes the sets of what a configuration asks for.
func vlans(v *xlcfg.VLANs) bridge.VLANs {
	out := bridge.VLANs{PVID: v.PVID, NoPVID: v.PVID == 0, Tagged: new(bridge.Set), Untagged: new(bridge.Set)}
	for _, n := range v.Tagged {
		out.Tagged.Add(n)
	}
	for _, n := range v.Untagged {
		out.Untagged.Add(n)
	}
	return out
}
