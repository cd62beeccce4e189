// Command ociarchive packs static programs into a one-layer OCI image archive, with no registry and no container daemon.
//
// The same inputs give the same bytes: every time stamp is zero, and entries are in a fixed order.
// The archive is what `ctr images import` and `docker load` read; its name travels in the annotations.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// repeated is a flag that may be given many times.
type repeated []string

func (r *repeated) String() string { return strings.Join(*r, " ") }

func (r *repeated) Set(value string) error {
	*r = append(*r, value)
	return nil
}

// image is what the command line asks for.
type image struct {
	output, name, user                string
	files, links, entrypoint, environ repeated
}

func main() {
	var wanted image
	flag.StringVar(&wanted.output, "output", "", "the archive to write")
	flag.StringVar(&wanted.name, "name", "", "the image's full name with its tag, such as lab.local/zab-server:dev")
	flag.StringVar(&wanted.user, "user", "0", "the numeric user that runs the entry point")
	flag.Var(&wanted.files, "file", "PATH_IN_IMAGE=FILE; its permissions are kept; may be repeated")
	flag.Var(&wanted.links, "link", "PATH_IN_IMAGE=TARGET, a symbolic link; may be repeated")
	flag.Var(&wanted.entrypoint, "entrypoint", "one word of the entry point; may be repeated")
	flag.Var(&wanted.environ, "env", "NAME=VALUE; may be repeated")
	flag.Parse()
	if err := wanted.write(); err != nil {
		fmt.Fprintln(os.Stderr, "ociarchive:", err)
		os.Exit(1)
	}
}

func (i *image) check() error {
	repository, tag, found := strings.Cut(path.Base(i.name), ":")
	switch {
	case i.output == "":
		return errors.New("--output is missing")
	case !found || repository == "" || tag == "":
		return fmt.Errorf("--name is %q; expected a name with a tag, such as lab.local/zab-server:dev", i.name)
	case len(i.files) == 0:
		return errors.New("an image needs at least one --file")
	}
	if _, err := strconv.ParseUint(i.user, 10, 31); err != nil {
		return fmt.Errorf("--user is %q; expected a number, since the image has no user names of its own to look up", i.user)
	}
	return nil
}

func (i *image) write() error {
	if err := i.check(); err != nil {
		return err
	}
	layer, err := i.layer()
	if err != nil {
		return err
	}
	config := encode(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"created":      "1970-01-01T00:00:00Z",
		"config": map[string]any{
			"Entrypoint": i.entrypoint,
			"Env":        append([]string{"PATH=/bin"}, i.environ...),
			"User":       i.user,
			"WorkingDir": "/",
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
		"history": []any{map[string]any{"created": "1970-01-01T00:00:00Z", "created_by": "ociarchive"}},
	})
	manifest := encode(map[string]any{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.manifest.v1+json",
		"config":        descriptor("application/vnd.oci.image.config.v1+json", config),
		"layers":        []any{descriptor("application/vnd.oci.image.layer.v1.tar", layer)},
	})
	listed := descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
	_, tag, _ := strings.Cut(path.Base(i.name), ":")
	listed["annotations"] = map[string]string{
		"io.containerd.image.name":          i.name,
		"org.opencontainers.image.ref.name": tag,
	}
	index := encode(map[string]any{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.index.v1+json",
		"manifests":     []any{listed},
	})
	return i.archive(index, config, manifest, layer)
}

// archive writes the files of an OCI image layout: the index, and every blob under its own digest.
func (i *image) archive(index []byte, blobs ...[]byte) error {
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	add := func(name string, content []byte) error {
		return entry(archive, tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg}, content)
	}
	if err := add("oci-layout", encode(map[string]string{"imageLayoutVersion": "1.0.0"})); err != nil {
		return err
	}
	if err := add("index.json", index); err != nil {
		return err
	}
	for _, blob := range blobs {
		if err := add("blobs/sha256/"+strings.TrimPrefix(digest(blob), "sha256:"), blob); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	// Another process may be importing the old archive: it keeps the old file, and sees the new one whole.
	partial := i.output + ".partial"
	if err := os.WriteFile(partial, out.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(partial, i.output)
}

// layer packs the image's file system: parents before children, everything owned by root and dated 1970.
func (i *image) layer() ([]byte, error) {
	entries := map[string]tar.Header{"tmp": {Name: "tmp/", Mode: 0o1777, Typeflag: tar.TypeDir}}
	contents := map[string][]byte{
		"etc/passwd": []byte("root:x:0:0:root:/:/bin/sh\nnonroot:x:65532:65532:nonroot:/:/bin/sh\n"),
		"etc/group":  []byte("root:x:0:\nnonroot:x:65532:\n"),
	}
	for name := range contents {
		entries[name] = tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg}
	}
	for _, file := range i.files {
		name, source, err := placed("--file", file)
		if err != nil {
			return nil, err
		}
		content, mode, err := read(source)
		if err != nil {
			return nil, err
		}
		contents[name] = content
		entries[name] = tar.Header{Name: name, Mode: int64(mode), Typeflag: tar.TypeReg}
	}
	for _, link := range i.links {
		name, target, err := placed("--link", link)
		if err != nil {
			return nil, err
		}
		entries[name] = tar.Header{Name: name, Mode: 0o777, Typeflag: tar.TypeSymlink, Linkname: target}
	}
	var names []string
	for name := range entries {
		names = append(names, name)
	}
	for _, name := range names {
		for parent := path.Dir(name); parent != "."; parent = path.Dir(parent) {
			if _, there := entries[parent]; !there {
				entries[parent] = tar.Header{Name: parent + "/", Mode: 0o755, Typeflag: tar.TypeDir}
				names = append(names, parent)
			}
		}
	}
	slices.Sort(names) // a parent's name is a prefix of its children's
	var out bytes.Buffer
	layer := tar.NewWriter(&out)
	for _, name := range names {
		if err := entry(layer, entries[name], contents[name]); err != nil {
			return nil, err
		}
	}
	err := layer.Close()
	return out.Bytes(), err
}

// placed splits PATH_IN_IMAGE=VALUE and makes the path relative to the image's root.
func placed(option, value string) (name, rest string, err error) {
	name, rest, found := strings.Cut(value, "=")
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if !found || name == "" || rest == "" {
		return "", "", fmt.Errorf("%s is %q; expected PATH_IN_IMAGE=VALUE", option, value)
	}
	return name, rest, nil
}

func read(source string) (content []byte, mode fs.FileMode, err error) {
	about, err := os.Stat(source)
	if err != nil {
		return nil, 0, err
	}
	content, err = os.ReadFile(source)
	return content, about.Mode().Perm(), err
}

func entry(archive *tar.Writer, header tar.Header, content []byte) error {
	header.Size = int64(len(content))
	header.Format = tar.FormatUSTAR
	if err := archive.WriteHeader(&header); err != nil {
		return err
	}
	_, err := archive.Write(content)
	return err
}

func descriptor(mediaType string, blob []byte) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": digest(blob), "size": len(blob)}
}

func digest(blob []byte) string {
	sum := sha256.Sum256(blob)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// encode writes JSON with its keys in order.
func encode(value any) []byte {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(err) // only strings, numbers, maps and slices go in
	}
	return encoded
}
