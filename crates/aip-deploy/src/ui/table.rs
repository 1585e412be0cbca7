//! Columns padded to their widest cell, two blanks between them, nothing at the end of a line.

use super::style::width;

/// Lays out rows of equal length. `extra` is added to the width of the column of that number: the
/// status of a running operation grows, and the table must not jump.
pub(crate) fn columns(rows: &[Vec<String>], extra: &[(usize, usize)]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths = vec![0; count];
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            widths[column] = widths[column].max(width(cell));
        }
    }
    for (column, more) in extra {
        if let Some(width) = widths.get_mut(*column) {
            *width += more;
        }
    }
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    let mut owed = 0;
    for (cell, full) in row.iter().zip(widths) {
        let taken = width(cell);
        if taken > 0 {
            line.extend(std::iter::repeat_n(' ', owed));
            line.push_str(cell);
            owed = 0;
        }
        owed += full - taken + 2;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn cells_are_padded_but_lines_do_not_end_in_blanks() {
        let rows = [vec!["a", "bb", ""], vec!["aaa", "", "c"]]
            .map(|row| row.into_iter().map(str::to_owned).collect());
        assert_eq!(columns(&rows, &[(1, 3)]), ["a    bb", "aaa         c"]);
    }
}
