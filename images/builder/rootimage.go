package builder

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"

	"nidus/images/debian"
	"nidus/images/guests"
)

// rootImage makes an ext4 file system of so many MiB with busybox, whose init is
// guests.RootInit, and more files. mke2fs fills it without a mount.
func (b *Builder) rootImage(sizeMiB int, more map[string][]byte) ([]byte, error) {
	if err := debian.Install(b.Say, "e2fsprogs"); err != nil {
		return nil, err
	}
	busybox, err := debian.Fetch(b.Say, b.Out("cache"), debian.File{Package: "busybox-static", Pattern: "bin/busybox"})
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "nidus-root-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	root := filepath.Join(tmp, "root")
	for _, dir := range []string{"bin", "sbin", "dev", "proc", "sys", "tmp", "root", "mnt"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return nil, err
		}
	}
	files := map[string][]byte{"bin/busybox": busybox, "sbin/init": []byte(guests.RootInit)}
	maps.Copy(files, more)
	for name, data := range files {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(name, data, 0o755); err != nil {
			return nil, err
		}
	}
	for _, applet := range guests.AppletNames() {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", applet)); err != nil {
			return nil, err
		}
	}
	file := filepath.Join(tmp, "root.img")
	cmd := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", root, file, fmt.Sprintf("%dM", sizeMiB))
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/sbin:/usr/sbin") // Debian's users have none
	if cmd.Err != nil {
		cmd.Path, cmd.Err = "/sbin/mke2fs", nil
	}
	if err := b.run(cmd); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}
