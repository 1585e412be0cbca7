//! Just enough HTML to use our own pages as a person does: forms, their hidden fields, buttons.

/// A form on a page.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub(crate) action: String,
    fields: Vec<(String, String)>,
    buttons: Vec<Tag>,
}

/// A tag with its attributes.
#[derive(Debug, Clone)]
struct Tag(Vec<(String, String)>);

impl Form {
    /// The form with that id.
    pub(crate) fn by_id(page: &str, id: &str) -> Option<Self> {
        Self::all(page).find_map(|(tag, form)| (tag.get("id") == Some(id)).then_some(form))
    }

    /// The form with that value in that field.
    pub(crate) fn with_field(page: &str, name: &str, value: &str) -> Option<Self> {
        Self::all(page).find_map(|(_, form)| (form.field(name) == Some(value)).then_some(form))
    }

    /// Every form with that value in that field.
    pub(crate) fn all_with(page: &str, name: &str, value: &str) -> Vec<Self> {
        let forms = Self::all(page).map(|(_, form)| form);
        forms.filter(|it| it.field(name) == Some(value)).collect()
    }

    /// Whether there is a button with that value.
    pub(crate) fn has_button(&self, value: &str) -> bool {
        self.buttons.iter().any(|it| it.get("value") == Some(value))
    }

    fn all(page: &str) -> impl Iterator<Item = (Tag, Self)> {
        page.split("<form ").skip(1).map(|rest| {
            let (form, _) = rest.split_once("</form>").expect("the form is closed");
            let tag = Tag::parse(form);
            let fields = tags(form, "<input ").filter_map(|input| {
                let name = input.get("name")?.to_owned();
                Some((name, input.get("value").unwrap_or_default().to_owned()))
            });
            let form = Self {
                action: tag.get("action").unwrap_or_default().to_owned(),
                fields: fields.collect(),
                buttons: tags(form, "<button ").collect(),
            };
            (tag, form)
        })
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find_map(|(it, value)| (it == name).then_some(value.as_str()))
    }

    /// Fills a field in, or adds one that is not there, as a tampering caller does.
    #[must_use]
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(it, _)| it != name);
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What is sent when the button with that id or value is pressed.
    pub(crate) fn press(mut self, button: &str) -> Vec<(String, String)> {
        let pressed = self
            .buttons
            .iter()
            .find(|it| it.get("id") == Some(button) || it.get("value") == Some(button));
        let pressed = pressed.unwrap_or_else(|| panic!("no button {button}: {:?}", self.buttons));
        if let (Some(name), Some(value)) = (pressed.get("name"), pressed.get("value")) {
            self.fields.push((name.to_owned(), value.to_owned()));
        }
        self.fields
    }
}

impl Tag {
    fn parse(text: &str) -> Self {
        let inside = text.split('>').next().unwrap_or_default();
        let pairs = inside.split("=\"").zip(inside.split("=\"").skip(1));
        let attributes = pairs.filter_map(|(before, after)| {
            let name = before.rsplit([' ', '\n']).next()?;
            let value = after.split('"').next()?;
            Some((name.to_owned(), unescape(value)))
        });
        Self(attributes.collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find_map(|(it, value)| (it == name).then_some(value.as_str()))
    }
}

fn tags<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = Tag> + 'a {
    text.split(start).skip(1).map(Tag::parse)
}

/// What the template engine escapes.
pub(crate) fn unescape(text: &str) -> String {
    [
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#38;", "&"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[test]
fn a_form_is_read_and_filled_in() {
    let page = concat!(
        "<form id=\"a\" method=\"post\" action=\"/login\">\n<input type=\"hidden\" name=\"csrf\" ",
        "value=\"x&#38;y\">\n<input id=\"subject\" name=\"subject\" value=\"\">",
        "<button id=\"go\" type=\"submit\" name=\"decision\" value=\"allow\">Go</button></form>",
    );
    let form = Form::by_id(page, "a").unwrap();
    assert_eq!(form.action, "/login");
    assert_eq!(form.field("csrf"), Some("x&y"));
    let pairs = [("csrf", "x&y"), ("subject", "alice"), ("decision", "allow")];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(form.set("subject", "alice").press("go"), pairs);
}
