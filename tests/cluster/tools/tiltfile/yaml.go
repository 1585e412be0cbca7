package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	starlarkjson "go.starlark.net/lib/json"
	"go.starlark.net/starlark"
	"go.yaml.in/yaml/v3"
)

// decode reads the documents of a stream that are not empty.
func decode(text string) ([]any, error) {
	decoder := yaml.NewDecoder(bytes.NewBufferString(text))
	documents := []any{}
	for {
		var document any
		switch err := decoder.Decode(&document); {
		case errors.Is(err, io.EOF):
			return documents, nil
		case err != nil:
			return nil, err
		case document != nil:
			documents = append(documents, document)
		}
	}
}

func encode(documents []any) (blob, error) {
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	for _, document := range documents {
		if err := encoder.Encode(document); err != nil {
			return "", err
		}
	}
	return blob(text.String()), encoder.Close()
}

func toBlob(_ *starlark.Thread, called *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var text string
	if err := starlark.UnpackArgs(called.Name(), args, kwargs, "input", &text); err != nil {
		return nil, err
	}
	return blob(text), nil
}

func decodeYAMLStream(thread *starlark.Thread, called *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var given starlark.Value
	if err := starlark.UnpackArgs(called.Name(), args, kwargs, "yaml", &given); err != nil {
		return nil, err
	}
	text, is := starlark.AsString(given)
	if given, isBlob := given.(blob); isBlob {
		text, is = string(given), true
	}
	if !is {
		return nil, fmt.Errorf("decode_yaml_stream: %s is no text", given.Type())
	}
	documents, err := decode(text)
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(documents)
	if err != nil {
		return nil, err
	}
	decoder := starlarkjson.Module.Members["decode"]
	return starlark.Call(thread, decoder, starlark.Tuple{starlark.String(encoded)}, nil)
}

func encodeYAML(_ *starlark.Thread, called *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var object starlark.Value
	if err := starlark.UnpackArgs(called.Name(), args, kwargs, "obj", &object); err != nil {
		return nil, err
	}
	plain, err := toPlain(object)
	if err != nil {
		return nil, err
	}
	return encode([]any{plain})
}

func encodeYAMLStream(_ *starlark.Thread, called *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var objects starlark.Value
	if err := starlark.UnpackArgs(called.Name(), args, kwargs, "objs", &objects); err != nil {
		return nil, err
	}
	plain, err := toPlain(objects)
	if err != nil {
		return nil, err
	}
	documents, is := plain.([]any)
	if !is {
		return nil, fmt.Errorf("encode_yaml_stream: %s is no list", objects.Type())
	}
	return encode(documents)
}

// toPlain is a value as JSON has it.
func toPlain(value starlark.Value) (any, error) {
	switch value := value.(type) {
	case starlark.NoneType:
		return nil, nil
	case blob:
		return string(value), nil
	case starlark.String:
		return string(value), nil
	case starlark.Bool:
		return bool(value), nil
	case starlark.Int:
		number, is := value.Int64()
		if !is {
			return nil, fmt.Errorf("%s is too large", value)
		}
		return number, nil
	case starlark.Float:
		return float64(value), nil
	case *starlark.Dict:
		object := map[string]any{}
		for _, item := range value.Items() {
			name, is := starlark.AsString(item[0])
			if !is {
				return nil, fmt.Errorf("the key %s is no string", item[0])
			}
			plain, err := toPlain(item[1])
			if err != nil {
				return nil, err
			}
			object[name] = plain
		}
		return object, nil
	case starlark.Iterable:
		list := []any{}
		for element := range starlark.Elements(value) {
			plain, err := toPlain(element)
			if err != nil {
				return nil, err
			}
			list = append(list, plain)
		}
		return list, nil
	default:
		return nil, fmt.Errorf("%s is neither text nor number, list or dictionary", value.Type())
	}
}
