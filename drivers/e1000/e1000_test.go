package e1000

import (
	"testing"

	"nidus/drivers/link"
	"nidus/drivers/nic/intel/inteltest"
)

// driver is tested with a card with MSI-X, one with MSI, and one without messages.
var driver = inteltest.Driver{
	Kinds: []inteltest.Kind{
		{Name: "82574L", ID: 0x10d3, Vectors: 5, Six: true},
		{Name: "82571EB", ID: 0x105e, MSI: true, Six: true},
		{Name: "82540EM", ID: 0x100e},
	},
	Family: func(uint16) inteltest.Family { return &family{} },
	Is:     Is, Open: Open, Good: rxDD | rxEOP, Sound: rxDD | rxEOP | rxTCPSum,
}

func TestCard(t *testing.T) { driver.Test(t) }

// TestRefused sends what the card does not take.
func TestRefused(t *testing.T) {
	driver.Refused(t, map[string]func(f *link.Frame){
		"sum far away": func(f *link.Frame) { f.CsumOffset = 300 },
	})
}

func TestBadFrames(t *testing.T) {
	driver.BadFrames(t, map[string]inteltest.Bad{
		"good":           {Change: func(*uint64) {}},
		"no bytes":       {Change: func(v *uint64) { *v &^= 0xffff }, N: 1},
		"a runt":         {Change: func(v *uint64) { *v = *v&^0xffff | 13 }, N: 1},
		"longer than is": {Change: func(v *uint64) { *v |= 0xffff }, N: 1},
		"1519 bytes":     {Change: func(v *uint64) { *v = *v&^0xffff | 1519 }, N: 1},
		"an error":       {Change: func(v *uint64) { *v |= 1 << 40 }, N: 1},
		"no end":         {Change: func(v *uint64) { *v &^= rxEOP }, N: 2}, // the next is taken for its end
	})
}

func TestChecksum(t *testing.T) {
	driver.Checksums(t, driver.Kinds[1], map[string]inteltest.Sum{
		"not computed":   {Status: 0, Want: link.Complete},
		"right":          {Status: rxTCPSum, Want: link.Verified},
		"right, UDP":     {Status: rxUDPSum, Want: link.Verified},
		"wrong":          {Status: rxTCPSum | rxTCPWrong, Want: link.Complete},
		"to be ignored":  {Status: rxTCPSum | rxNoSums, Want: link.Complete},
		"wrong, ignored": {Status: rxTCPSum | rxTCPWrong | rxNoSums, Want: link.Complete},
	})
}
