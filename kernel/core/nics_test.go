package core

import (
	"slices"
	"strings"
	"testing"

	"nidus/drivers/link"
)

// port is one of which nothing is asked but who receives.
type port struct {
	link.Port
	silent int
}

func (p *port) Receive(r link.Receiver) {
	if r == nil {
		p.silent++
	}
}

func TestNICs(t *testing.T) {
	var c Core
	if _, err := c.TakeNIC("eth0", "xenbr0"); err == nil || !strings.Contains(err.Error(), "no network card eth0") {
		t.Error(err)
	}
	p := &port{}
	c.RegisterNIC("eth1", &port{})
	c.RegisterNIC("eth0", p)
	if got := c.NICs(); !slices.Equal(got, []string{"eth0", "eth1"}) {
		t.Error(got)
	}
	if got, err := c.TakeNIC("eth0", "xenbr0"); got != link.Port(p) || err != nil {
		t.Error(got, err)
	}
	if _, err := c.TakeNIC("eth0", "the host"); err == nil || !strings.Contains(err.Error(), "xenbr0") {
		t.Error(err)
	}
	c.ReturnNIC("eth0", "the host")
	if p.silent != 0 {
		t.Error("another one gave it back")
	}
	c.ReturnNIC("eth0", "xenbr0")
	if _, err := c.TakeNIC("eth0", "the host"); err != nil || p.silent != 1 {
		t.Error(err, p.silent)
	}
	c.RegisterNIC("eth0", nil)
	c.ReturnNIC("eth0", "the host")
	if _, err := c.TakeNIC("eth0", "the host"); err == nil {
		t.Error("it is gone")
	}
}
