package hostnic

import (
	"strings"
	"testing"

	"nidus/drivers/device/devicetest"
	"nidus/drivers/pci"
	"nidus/drivers/pci/pcitest"
)

func TestDriver(t *testing.T) {
	for id, want := range map[uint32]pci.Owner{
		0x10d38086: "e1000", 0x100e8086: "e1000", 0x816810ec: "r8169", 0x10411af4: "virtio-net",
		0x10d310ec: "", 0x81688086: "", 0x10421af4: "", 0x15218086: "igb",
		0x153310ec: "", 0x15238086: "", 0x153a8086: "",
	} {
		f := (&pcitest.Function{Host: &devicetest.Host{}, ID: id, Window: 4096}).Start()
		if o, ok := Driver(f); o != want || ok != (want != "") {
			t.Errorf("%#x: %q, want %q", id, o, want)
		}
		if want != "" {
			continue
		}
		if p, err := Open(&devicetest.Host{}, f, "eth0", t.Logf); p != nil || err == nil || !strings.Contains(err.Error(), "no driver") {
			t.Errorf("%#x: %v, %v", id, p, err)
		}
	}
}
