// Package builder makes what boots: the image, an ISO with it, and the guests
// that run and the regressions start.
//
// All that it makes is under one folder, out/ of the repository; the same
// sources and the same Go make the same image.
package builder

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"nidus/images/debian"
	"nidus/kernel/baremetal"
)

const (
	stubLoad  = 0x100000  // physical address of the entry stub
	imageLoad = 0x1000000 // physical address of Go's file header; text follows on the next page
)

// Builder builds in a repository.
type Builder struct {
	// Root is the repository's folder.
	Root string
	// Say gets a line for each step that takes time.
	Say io.Writer
}

// Out is the path of something that was or will be built.
func (b *Builder) Out(name ...string) string {
	return filepath.Join(append([]string{b.Root, "out"}, name...)...)
}

// Image builds out/nidus, and out/nidus-pvh that has no multiboot header.
func (b *Builder) Image() error {
	return b.image("./kernel", "nidus", map[string]Entry{"nidus": AllLoaders, "nidus-pvh": PVHOnly})
}

// XL builds out/xl, the Linux program that drives a host.
func (b *Builder) XL() error {
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", b.Out("xl"), "./xltool/xl")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	return b.run(build)
}

// SelfTest builds out/nidus-selftest, the image that checks the seam to stock Go.
func (b *Builder) SelfTest() error {
	return b.image("./images/selftest", "nidus-selftest", map[string]Entry{"nidus-selftest": AllLoaders})
}

// image builds a main package for the bare machine, out/NAME.elf, and joins it
// with the entry stub, once for each of the images.
func (b *Builder) image(pkg, name string, images map[string]Entry) error {
	if err := debian.Install(b.Say, "binutils"); err != nil {
		return err
	}
	fmt.Fprintln(b.Say, "building out/"+name)
	if err := os.MkdirAll(b.Out(), 0o755); err != nil {
		return err
	}
	stub := b.Out("stub.elf")
	if err := b.assemble("kernel/baremetal/stub/stub.S", stub, "--64", "-Ttext", fmt.Sprintf("%#x", stubLoad), "-e", "entry32"); err != nil {
		return err
	}
	kernel := b.Out(name + ".elf")
	if err := b.kernel(pkg, b.Out("overlay"), kernel); err != nil {
		return err
	}
	for name, entry := range images {
		img, err := Join(stub, kernel, entry)
		if err != nil {
			return err
		}
		if err := os.WriteFile(b.Out(name), img, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// kernel links a main package for the bare machine to an ELF file. The overlay goes
// into a folder.
func (b *Builder) kernel(pkg, overlay, elf string) error {
	if err := b.command("go", "run", "./kernel/baremetal/mkoverlay", "-o", overlay); err != nil {
		return err
	}
	text := uint64(baremetal.ImageBase + imageLoad + filePageOffset)
	// The linker's flag is signed.
	flags := fmt.Sprintf("-checklinkname=0 -E bootEntry -T %d -R %#x", int64(text), filePageOffset)
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-overlay", filepath.Join(overlay, "overlay.json"), "-tags", "tamago", "-gcflags", retpolines, "-ldflags", flags, "-o", elf, pkg)
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "CGO_ENABLED=0")
	return b.run(build)
}

// retpolines has the compiler make indirect calls that guests can't train. Assembly is
// left as it is: the assembler refuses some of the runtime's with this flag.
const retpolines = "all=-spectre=ret"

// assemble makes an ELF file of one assembly source. mode is the assembler's
// (--32 or --64), ldArgs the linker's arguments.
func (b *Builder) assemble(src, out, mode string, ldArgs ...string) error {
	obj := strings.TrimSuffix(out, ".elf") + ".o"
	if err := b.command("as", mode, src, "-o", obj); err != nil {
		return err
	}
	return b.command("ld", append(ldArgs, "-z", "noexecstack", "--no-warn-rwx-segments", obj, "-o", out)...)
}

// command runs a program in the repository.
func (b *Builder) command(name string, args ...string) error {
	return b.run(exec.Command(name, args...))
}

// run runs a program in the repository; its output is in the error, if it fails.
func (b *Builder) run(cmd *exec.Cmd) error {
	cmd.Dir = b.Root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// writeIfChanged keeps the time of a file whose content stays.
func writeIfChanged(name string, data []byte, mode os.FileMode) error {
	if old, err := os.ReadFile(name); err == nil && bytes.Equal(old, data) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, data, mode)
}
