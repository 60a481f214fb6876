package hostdisk

import (
	"testing"

	"nidus/drivers/device/devicetest"
	"nidus/drivers/nvme"
	"nidus/drivers/nvme/nvmetest"
	"nidus/drivers/pci"
)

func TestLetters(t *testing.T) {
	for n, want := range map[int]string{0: "a", 25: "z", 26: "aa", 51: "az", 52: "ba", 701: "zz", 702: "aaa"} {
		if got := letters(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestNVMe(t *testing.T) {
	var n Names
	for i, want := range []string{"nvme0n1", "nvme1n1"} {
		m := &nvmetest.Device{Host: &devicetest.Host{}, Namespaces: []*nvmetest.Namespace{nvmetest.NewNamespace(8, 9)},
			Queues: 1, Vectors: 2, Depth: 8, Version: 0x10000}
		f := m.Function()
		defer m.Close()
		if o, ok := Driver(f); !ok || o != nvme.Owner {
			t.Errorf("the driver is %q, %v", o, ok)
		}
		ds, err := n.Open(m.Host, f, t.Logf)
		if err != nil || len(ds) != 1 || ds[0].Name != want {
			t.Fatalf("disk %d: %+v, %v", i, ds, err)
		}
		if err := ds[0].Close(); err != nil {
			t.Error(err)
		}
	}
	if _, ok := Driver(&pci.Function{Vendor: 0x1af4, Device: 0x1042}); !ok {
		t.Error("virtio-blk has no driver")
	}
}
