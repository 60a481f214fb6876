package start

import (
	"testing"

	"nidus/kernel/xenabi"
	"nidus/personalities/image"
)

// FuzzLayout: a kernel of any kind is refused, or starts in the domain's own memory with
// page tables that it can't write.
func FuzzLayout(f *testing.F) {
	for _, s := range []spec{linux64(), plain64(), linux32(), netbsd64(), netbsd32(),
		{at: 0x1000, size: 0x1000, legacy: "XEN_VER=xen-3.0,VIRT_BASE=0x40000000,ELF_PADDR_OFFSET=0"}} {
		f.Add(s.file(), uint16(0x1200), uint16(100))
	}
	f.Fuzz(func(t *testing.T, file []byte, memory, ramdisk uint16) {
		k, err := image.Decode("k", file, image.Limits{MaxUnpacked: 1 << 20, MaxWindow: 1 << 20})
		if err != nil {
			return
		}
		c := Params{Kernel: k, Pages: uint64(memory)}
		if ramdisk > 0 {
			c.Modules = []Module{{Name: "r", Data: make([]byte, ramdisk)}}
		}
		p, err := Layout(c)
		if err != nil {
			return
		}
		m := newMachine(c.Pages)
		if err := p.Arrange(m.Frame, m.swap); err != nil {
			t.Fatal(err)
		}
		if err := p.Write(m, testLive); err != nil {
			t.Fatal(err)
		}
		g := guestView{t, m, p, m.Frame(p.Tables.First)}
		g.mapped()
		var s xenabi.StartInfo
		xenabi.Decode(p.Width(), g.read(p.Registers().RSI, 2048), &s)
		g.list(&s)
	})
}
