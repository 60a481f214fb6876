package builder

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"

	"nidus/images/debian"
	"nidus/images/guests"
)

// smallPackages are enough to boot.
var smallPackages = []string{"base-files", "busybox-static"}

// smallCD makes a CD from which guests.InstallSmall installs them.
func (b *Builder) smallCD() ([]byte, error) {
	files := map[string]string{}
	for _, p := range smallPackages {
		deb, err := debian.Download(b.Say, b.Out("cache"), p)
		if err != nil {
			return nil, err
		}
		files[p+".deb"] = deb
	}
	return b.cd(guests.InstallSmall, guests.RootInit, files)
}

// debianCD makes a CD from which guests.Install installs Debian's minbase: debootstrap,
// and the packages, which are downloaded once.
func (b *Builder) debianCD() ([]byte, error) {
	if err := debian.Install(b.Say, "debootstrap"); err != nil {
		return nil, err
	}
	packages := b.Out("cache", "minbase-"+peerSuite+".tgz")
	if _, err := os.Stat(packages); err != nil {
		fmt.Fprintln(b.Say, "downloading the packages of Debian's minbase with debootstrap")
		tmp, err := os.MkdirTemp("", "nidus-debootstrap-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(tmp)
		if err := b.command("debootstrap", "--variant=minbase", "--make-tarball="+packages+".new", peerSuite, filepath.Join(tmp, "root")); err != nil {
			return nil, err
		}
		if err := os.Rename(packages+".new", packages); err != nil {
			return nil, err
		}
	}
	const scripts = "/usr/share/debootstrap/"
	return b.cd(guests.Install, guests.InstalledInit, map[string]string{
		"packages.tgz":                      packages,
		"debootstrap/debootstrap":           "/usr/sbin/debootstrap",
		"debootstrap/functions":             scripts + "functions",
		"debootstrap/scripts/debian-common": scripts + "scripts/debian-common",
		"debootstrap/scripts/" + peerSuite:  scripts + "scripts/sid", // which it is a link to
	})
}

// cd makes an ISO 9660 image with the script that the guests' init starts (test=install),
// the installed system's init, and files.
func (b *Builder) cd(script, init string, files map[string]string) ([]byte, error) {
	if err := debian.Install(b.Say, "xorriso"); err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "nidus-cd-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	root := filepath.Join(tmp, "cd")
	put := func(name string, data []byte) error {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		return os.WriteFile(name, data, 0o755)
	}
	for name, from := range files {
		data, err := os.ReadFile(from)
		if err == nil {
			err = put(name, data)
		}
		if err != nil {
			return nil, err
		}
	}
	for name, text := range map[string]string{"install.sh": script, "init": init} {
		if err := put(name, []byte(text)); err != nil {
			return nil, err
		}
	}
	image := filepath.Join(tmp, "cd.iso")
	cmd := exec.Command("xorriso", "-as", "mkisofs", "-quiet", "-r", "-V", "PACKAGES", "-o", image, root)
	if err := b.run(cmd); err != nil {
		return nil, err
	}
	return os.ReadFile(image)
}
