//go:build tamago

package machine

import (
	"errors"
	"fmt"
	"io"

	"nidus/drivers/vga"
	"nidus/kernel/baremetal"
	"nidus/kernel/boot"
	"nidus/kernel/boot/acpi"
)

// Screen clears the screen and returns it for the console: the framebuffer that
// the loader named, or else VGA text. The error says why there is none. What it
// returns is not safe for concurrent use. Call it once: what it maps stays mapped.
func (m *Machine) Screen() (io.Writer, error) {
	s, err := m.screen()
	if err != nil {
		return nil, fmt.Errorf("console=vga: %w", err)
	}
	return s, nil
}

func (m *Machine) screen() (io.Writer, error) {
	f := m.Info.Framebuffer
	if f == nil {
		switch {
		case m.Info.EFISystemTable != 0:
			return nil, errors.New("the loader named no framebuffer, and UEFI has no text screen: let GRUB set gfxmode and boot with multiboot2")
		case m.ACPI.FADT != nil && m.ACPI.FADT.BootArch&acpi.BootArchNoVGA != 0:
			return nil, errors.New("the loader named no framebuffer, and ACPI says that there is no VGA")
		}
		f = vga.EGAText()
	}
	const most = 512 << 20 // bytes; four times an 8K screen of 32 bits
	if f.Size() > most {
		return nil, fmt.Errorf("the framebuffer of %d bytes is larger than any screen (%d)", f.Size(), most)
	}
	// Not by the direct map, which has the low 1 MiB cached.
	va := baremetal.MapMMIO(f.Addr, f.Size())
	if va == 0 {
		return nil, fmt.Errorf("no room to map the screen's %d bytes at %#x", f.Size(), f.Addr)
	}
	mem := vga.MemoryAt(baremetal.Pointer(va), int(f.Size()))
	if f.Kind == boot.FramebufferText {
		return vga.NewText(mem, vgaPorts{}, f)
	}
	return vga.NewFramebuffer(mem, f)
}

type vgaPorts struct{}

func (vgaPorts) In8(p uint16) uint8     { return baremetal.In8(p) }
func (vgaPorts) Out8(p uint16, v uint8) { baremetal.Out8(p, v) }
