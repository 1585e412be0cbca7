package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

// standIn is Tilt, as far as a Tiltfile can see it.
type standIn struct {
	// folder is that of the Tiltfile, in which `local` runs.
	folder    string
	arguments []string
	defined   []setting
	calls     []Call
}

// setting is an argument of the Tiltfile.
type setting struct {
	name  string
	truth bool
}

// blob is Tilt's text that is no path: what `local` and the encoders return.
type blob string

func (b blob) String() string        { return string(b) }
func (b blob) Type() string          { return "blob" }
func (b blob) Freeze()               {}
func (b blob) Truth() starlark.Bool  { return len(b) > 0 }
func (b blob) Hash() (uint32, error) { return starlark.String(b).Hash() }

type builtin = func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error)

func (t *standIn) globals() starlark.StringDict {
	config := starlark.StringDict{
		"main_dir":      starlark.String(t.folder),
		"main_path":     starlark.String(filepath.Join(t.folder, "Tiltfile")),
		"define_string": starlark.NewBuiltin("define_string", t.define(false)),
		"define_bool":   starlark.NewBuiltin("define_bool", t.define(true)),
		"parse":         starlark.NewBuiltin("parse", t.parse),
	}
	globals := starlark.StringDict{
		"config":             starlarkstruct.FromStringDict(starlark.String("config"), config),
		"os":                 t.osModule(),
		"fail":               starlark.NewBuiltin("fail", fail),
		"local":              starlark.NewBuiltin("local", t.local),
		"blob":               starlark.NewBuiltin("blob", toBlob),
		"decode_yaml_stream": starlark.NewBuiltin("decode_yaml_stream", decodeYAMLStream),
		"encode_yaml":        starlark.NewBuiltin("encode_yaml", encodeYAML),
		"encode_yaml_stream": starlark.NewBuiltin("encode_yaml_stream", encodeYAMLStream),
		"read_yaml_stream":   starlark.NewBuiltin("read_yaml_stream", t.readYAMLStream),
		"k8s_yaml":           starlark.NewBuiltin("k8s_yaml", t.yaml),
	}
	// Their parameters in order, the first ones may be given by position.
	for function, parameters := range map[string][]string{
		"custom_build": {"ref", "command", "deps", "tag", "ignore", "dir", "entrypoint", "live_update",
			"match_in_env_vars", "skips_local_docker", "disable_push", "env"},
		"k8s_resource": {"workload", "new_name", "port_forwards", "extra_pod_selectors", "trigger_mode",
			"resource_deps", "objects", "auto_init", "pod_readiness", "links", "labels"},
		"local_resource": {"name", "cmd", "deps", "trigger_mode", "resource_deps", "ignore", "auto_init",
			"serve_cmd", "env", "serve_env", "readiness_probe", "links", "labels"},
		"watch_file": {"file_path"},
	} {
		globals[function] = starlark.NewBuiltin(function, t.record(parameters))
	}
	return globals
}

func (t *standIn) osModule() starlark.Value {
	path := starlark.StringDict{
		"join": starlark.NewBuiltin("join", func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			parts := make([]string, 0, len(args))
			for _, argument := range args {
				part, is := starlark.AsString(argument)
				if !is {
					return nil, fmt.Errorf("join: %s is no string", argument.Type())
				}
				// As Python's: what comes before an absolute path is dropped.
				if filepath.IsAbs(part) {
					parts = parts[:0]
				}
				parts = append(parts, part)
			}
			return starlark.String(filepath.Join(parts...)), nil
		}),
		"dirname":  starlark.NewBuiltin("dirname", ofPath(func(path string) starlark.Value { return starlark.String(filepath.Dir(path)) })),
		"basename": starlark.NewBuiltin("basename", ofPath(func(path string) starlark.Value { return starlark.String(filepath.Base(path)) })),
		"abspath":  starlark.NewBuiltin("abspath", ofPath(func(path string) starlark.Value { return starlark.String(t.path(path)) })),
		"exists": starlark.NewBuiltin("exists", ofPath(func(path string) starlark.Value {
			_, err := os.Stat(t.path(path))
			return starlark.Bool(err == nil)
		})),
	}
	return starlarkstruct.FromStringDict(starlark.String("os"), starlark.StringDict{
		"path": starlarkstruct.FromStringDict(starlark.String("path"), path),
	})
}

func ofPath(function func(string) starlark.Value) builtin {
	return func(_ *starlark.Thread, called *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		var path string
		if err := starlark.UnpackArgs(called.Name(), args, kwargs, "path", &path); err != nil {
			return nil, err
		}
		return function(path), nil
	}
}

func (t *standIn) define(truth bool) builtin {
	return func(_ *starlark.Thread, called *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		var name, usage string
		var positional bool
		if err := starlark.UnpackArgs(called.Name(), args, kwargs, "name", &name, "args?", &positional, "usage?", &usage); err != nil {
			return nil, err
		}
		t.defined = append(t.defined, setting{name, truth})
		return starlark.None, nil
	}
}

// parse reads the arguments; only those that are given are in the answer.
func (t *standIn) parse(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
	flags := flag.NewFlagSet("Tiltfile", flag.ContinueOnError)
	given := starlark.NewDict(len(t.defined))
	for _, defined := range t.defined {
		name := starlark.String(defined.name)
		if defined.truth {
			flags.BoolFunc(defined.name, "", func(text string) error {
				return given.SetKey(name, starlark.Bool(text == "true"))
			})
		} else {
			flags.Func(defined.name, "", func(text string) error {
				return given.SetKey(name, starlark.String(text))
			})
		}
	}
	if err := flags.Parse(t.arguments); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("no such argument: %s", flags.Arg(0))
	}
	return given, nil
}

func fail(_ *starlark.Thread, called *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var message string
	if err := starlark.UnpackArgs(called.Name(), args, kwargs, "msg", &message); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%s", message)
}

// local runs a command in the folder of the Tiltfile: a string by the shell, a list as it is.
func (t *standIn) local(_ *starlark.Thread, called *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var command starlark.Value
	var quiet, echoOff bool
	var dir string
	env := starlark.NewDict(0)
	err := starlark.UnpackArgs(called.Name(), args, kwargs,
		"command", &command, "quiet?", &quiet, "echo_off?", &echoOff, "env?", &env, "dir?", &dir)
	if err != nil {
		return nil, err
	}
	words, err := argv(command)
	if err != nil {
		return nil, err
	}
	run := exec.Command(words[0], words[1:]...)
	run.Dir = t.folder
	if dir != "" {
		run.Dir = dir
	}
	run.Env = os.Environ()
	for _, item := range env.Items() {
		name, _ := starlark.AsString(item[0])
		value, _ := starlark.AsString(item[1])
		run.Env = append(run.Env, name+"="+value)
	}
	var out, said bytes.Buffer
	run.Stdout, run.Stderr = &out, &said
	if err := run.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(words, " "), err, said.String())
	}
	return blob(out.String()), nil
}

func argv(command starlark.Value) ([]string, error) {
	if script, is := starlark.AsString(command); is {
		return []string{"sh", "-c", script}, nil
	}
	list, is := command.(*starlark.List)
	if !is || list.Len() == 0 {
		return nil, fmt.Errorf("a command is a string or a list of strings, and not empty")
	}
	var words []string
	for word := range list.Elements() {
		text, is := starlark.AsString(word)
		if !is {
			return nil, fmt.Errorf("%s in a command", word.Type())
		}
		words = append(words, text)
	}
	return words, nil
}

// record notes the call of a function with these parameters.
func (t *standIn) record(parameters []string) builtin {
	return func(_ *starlark.Thread, called *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		values := make([]starlark.Value, len(parameters))
		pairs := make([]any, 0, 2*len(parameters))
		for number, name := range parameters {
			if number > 0 {
				name += "?"
			}
			pairs = append(pairs, name, &values[number])
		}
		if err := starlark.UnpackArgs(called.Name(), args, kwargs, pairs...); err != nil {
			return nil, err
		}
		arguments := map[string]any{}
		for number, value := range values {
			if value == nil {
				continue
			}
			plain, err := toPlain(value)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", called.Name(), parameters[number], err)
			}
			arguments[parameters[number]] = plain
		}
		t.calls = append(t.calls, Call{called.Name(), arguments})
		return starlark.None, nil
	}
}

// yaml takes objects: a string is the path of a file, as in Tilt.
func (t *standIn) yaml(_ *starlark.Thread, called *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var given starlark.Value
	if err := starlark.UnpackArgs(called.Name(), args, kwargs, "yaml", &given); err != nil {
		return nil, err
	}
	text := ""
	switch given := given.(type) {
	case blob:
		text = string(given)
	case starlark.String:
		content, err := os.ReadFile(t.path(string(given)))
		if err != nil {
			return nil, err
		}
		text = string(content)
	default:
		return nil, fmt.Errorf("k8s_yaml: %s is neither a path nor a blob", given.Type())
	}
	objects, err := decode(text)
	if err != nil {
		return nil, err
	}
	t.calls = append(t.calls, Call{"k8s_yaml", map[string]any{"objects": objects}})
	return starlark.None, nil
}

// path is a path as a Tiltfile means it: from its own folder.
func (t *standIn) path(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(t.folder, path)
}

func (t *standIn) readYAMLStream(thread *starlark.Thread, called *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var path string
	if err := starlark.UnpackArgs(called.Name(), args, kwargs, "path", &path); err != nil {
		return nil, err
	}
	content, err := os.ReadFile(t.path(path))
	if err != nil {
		return nil, err
	}
	return decodeYAMLStream(thread, called, starlark.Tuple{starlark.String(content)}, nil)
}
