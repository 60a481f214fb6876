package builder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"nidus/images/debian"
	"nidus/images/media"
)

// Contents is what the images to boot from hold: out/nidus and the files of a folder,
// which may be empty. Image must have been called.
func (b *Builder) Contents(data string) (media.Contents, error) {
	if err := debian.Install(b.Say, media.Packages...); err != nil {
		return media.Contents{}, err
	}
	kernel, err := os.ReadFile(b.Out("nidus"))
	if err != nil {
		return media.Contents{}, err
	}
	if data != "" {
		if s, err := os.Stat(data); err != nil {
			return media.Contents{}, err
		} else if !s.IsDir() {
			return media.Contents{}, fmt.Errorf("%s is not a folder; its files are to go to the data partition", data)
		}
	}
	packed, err := media.Pack(kernel)
	return media.Contents{Kernel: packed, Data: data}, err
}

// Media makes out/nidus.img, large enough for the folder's files, and out/nidus.iso.
func (b *Builder) Media(data string) error {
	c, err := b.Contents(data)
	if err != nil {
		return err
	}
	fmt.Fprintln(b.Say, "making out/nidus.img and out/nidus.iso")
	size, err := media.FitBytes(data)
	if err != nil {
		return err
	}
	// By way of other names: nobody shall flash half an image.
	img, iso := b.Out("nidus.img.new"), b.Out("nidus.iso.new")
	_, err = media.WriteDisk(img, size, c, nil)
	err = errors.Join(err, media.WriteISO(iso, c))
	for _, name := range []string{img, iso} {
		if err == nil {
			err = os.Rename(name, name[:len(name)-len(filepath.Ext(name))])
		} else {
			os.Remove(name) // the error says why
		}
	}
	return err
}
